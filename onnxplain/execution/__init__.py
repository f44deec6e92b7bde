"""The interface between models and methods: running a model on a provider, for one sample."""
