"""What runs on a node: watching the disk, mounting, releasing, halting. Needs root and Linux; imports no Salt."""
