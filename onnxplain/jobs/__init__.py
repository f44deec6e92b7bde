"""Explaining many pictures: finding them, saving the results, and handling errors."""
