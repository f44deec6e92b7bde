"""Tables with other rules: the same backward pass computes relevance or other quantities."""
