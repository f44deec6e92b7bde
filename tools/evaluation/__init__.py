"""Measure methods by metrics on the shipped models and pictures."""
