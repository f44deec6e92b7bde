"""Explaining many pictures: finding them, saving the results, and going on after an end."""

from onnxplain.jobs.datasets import map_dataset
from onnxplain.jobs.results import Results

__all__ = ["Results", "map_dataset"]
