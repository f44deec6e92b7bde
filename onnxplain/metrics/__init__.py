"""Checks of whether a map can be trusted."""
