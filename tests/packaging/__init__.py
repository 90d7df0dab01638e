"""What a user gets: the wheel, the synced files, the block at the top of each."""
