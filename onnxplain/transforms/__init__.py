"""Graph transforms: each takes a model and returns a changed copy."""
