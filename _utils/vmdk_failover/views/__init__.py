"""What people read: the terminal's answers, the live view, the page of an incident."""
