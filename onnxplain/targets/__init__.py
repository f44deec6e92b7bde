"""What is being explained: one number per sample, read off the model's answer."""

from onnxplain.targets.kinds import (
    Class,
    Element,
    Mask,
    NoClass,
    Region,
    Similarity,
    Target,
)
from onnxplain.targets.specs import Answered, LabelBook, TargetSpec, as_list, resolve

__all__ = [
    "Answered",
    "Class",
    "Element",
    "LabelBook",
    "Mask",
    "NoClass",
    "Region",
    "Similarity",
    "Target",
    "TargetSpec",
    "as_list",
    "resolve",
]
