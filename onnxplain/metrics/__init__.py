"""Whether a map is right."""
