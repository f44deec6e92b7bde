"""Targets: what is explained, one number per sample, computed from the model's answer."""

from onnxplain.targets.answered import Answered
from onnxplain.targets.boxes import Box, Boxes
from onnxplain.targets.class_names import ClassNames
from onnxplain.targets.classes import Class, Output
from onnxplain.targets.combination import Combination
from onnxplain.targets.contrast import Contrast, Opposite
from onnxplain.targets.elements import Element, Mask, NoClass
from onnxplain.targets.parse import TargetSpec, as_list, resolve
from onnxplain.targets.pictures import Area
from onnxplain.targets.probabilities import Expected, Probabilities
from onnxplain.targets.regions import Region
from onnxplain.targets.sequences import Character, Step, Text
from onnxplain.targets.similarity import Similarity
from onnxplain.targets.target import Target

__all__ = [
    "Answered",
    "Area",
    "Box",
    "Boxes",
    "Character",
    "Class",
    "ClassNames",
    "Combination",
    "Contrast",
    "Element",
    "Expected",
    "Mask",
    "NoClass",
    "Opposite",
    "Output",
    "Probabilities",
    "Region",
    "Similarity",
    "Step",
    "Target",
    "TargetSpec",
    "Text",
    "as_list",
    "resolve",
]
