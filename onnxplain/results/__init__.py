"""What an explanation is, how it is drawn, and the files that hold it."""
