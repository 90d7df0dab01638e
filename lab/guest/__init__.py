"""A guest with a real SCSI layer and device-mapper, for what the kernel of this machine may not have."""
