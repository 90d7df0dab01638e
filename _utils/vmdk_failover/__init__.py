"""High availability for Linux VMs on vSphere with nothing but a VMDK and Salt."""

__version__ = "0.1.0"
