"""Targets: what is explained, one number per sample, computed from the model's answer."""

from onnxplain.targets.boxes import Box, Boxes
from onnxplain.targets.combination import Combination
from onnxplain.targets.contrast import Contrast, Opposite
from onnxplain.targets.parse import Answered, ClassNames, TargetSpec, as_list, resolve
from onnxplain.targets.sequences import Character, Step, Text
from onnxplain.targets.similarity import Similarity
from onnxplain.targets.types import Class, Element, Mask, NoClass, Region, Target

__all__ = [
    "Answered",
    "Box",
    "Boxes",
    "Character",
    "Class",
    "ClassNames",
    "Combination",
    "Contrast",
    "Element",
    "Mask",
    "NoClass",
    "Opposite",
    "Region",
    "Similarity",
    "Step",
    "Target",
    "TargetSpec",
    "Text",
    "as_list",
    "resolve",
]
