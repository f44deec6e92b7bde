"""Properties of a model found in its graph: inputs, layers, attention, score, batch axis."""
