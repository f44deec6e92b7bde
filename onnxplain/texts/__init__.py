"""Texts: from characters to the token ids that a model reads, and back."""
