"""Graph stages: each takes a model and returns a model."""
