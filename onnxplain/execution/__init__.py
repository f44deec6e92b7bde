"""The seam between models and methods: a model on a provider, and one sample of it."""
