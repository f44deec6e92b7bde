"""Which patch of each tensor changes where a window of the input is covered, and what it needs."""
