"""What a master keeps: files that survive a power cut, and the shelf that several masters share."""
