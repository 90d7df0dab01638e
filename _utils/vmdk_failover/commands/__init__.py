"""What operators ask for, one module for each thing that they can type."""
