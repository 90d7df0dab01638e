"""The lab: a Salt master, Salt minions as virtual machines, a vCenter and disks that fail on command, on one machine."""
