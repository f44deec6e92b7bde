"""Explanation methods: what each needs from a model, and its formula."""
