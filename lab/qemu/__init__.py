"""Nodes that are guests under software emulation: kernels, SCSI controllers and VMDK files of their own. Never /dev/kvm."""
