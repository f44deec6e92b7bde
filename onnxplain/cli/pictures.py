"""The pictures of a command line, and what is said of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxplain.cli.console import Console, print_error
from onnxplain.cli.flags import switches
from onnxplain.errors import OnnxplainError, PictureError
from onnxplain.explainer import Explainer
from onnxplain.images.picture import MAX_PIXELS
from onnxplain.images.preprocess import Preprocess
from onnxplain.jobs.inputs import InputImage, find_inputs
from onnxplain.results.explanation import Explanation
from onnxplain.tensors import Array

_OPENCV = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS), "OPENCV_LOG_LEVEL": "SILENT"}
"""Read when OpenCV is loaded, which then refuses larger files before it decodes them, and leaves it
to us to say what is wrong with a file."""


_TRUTHS = frozenset({"true", "false", "yes", "no", "on", "off"})


def find_images(images: Sequence[str]) -> list[InputImage]:
    """Every picture that a command line means.

    Raises:
        PictureError: there is no such file, or none that fits a pattern.
    """
    for name, value in _OPENCV.items():
        os.environ.setdefault(name, value)
    stray = next((one for one in images if one.lower() in _TRUTHS and not Path(one).exists()), None)
    if stray:
        raise PictureError(
            f"{stray} is no picture: a switch takes no value, so write --relu or --no-relu, for "
            f"example; the switches are {', '.join(switches())}."
        )
    return find_inputs(images)


def gray(explainer: Explainer) -> Array:
    """A picture of nothing, of the model's size."""
    return np.full((*(explainer.preprocess.size or (224, 224)), 3), 127.5, np.float32)


def print_picture_error(error: OnnxplainError, image: InputImage) -> None:
    """Say what is wrong with a picture, and which it is."""
    known = isinstance(error, PictureError)
    print_error(str(error) if known else f"{image.path}: {error}")


def note_guess(preprocess: Preprocess, model: Path, console: Console) -> None:
    """Say where preprocessing is only guessed."""
    if preprocess.origin.startswith("guess"):
        console.note(
            f"Note: how {model.name} wants its pictures is a {preprocess.origin}. Settle it with "
            "--fit, --resize, --channels, --scale, --mean and --std, or with a file "
            f"{model.stem}.onnxplain.json beside the model."
        )


def note_warnings(explanation: Explanation, console: Console) -> None:
    """Pass on what a method says about its own accuracy."""
    for sentence in explanation.diagnostics.get("warnings", ()):
        where = f"{explanation.picture_path}, {explanation.method}, {explanation.target.name}"
        console.note(f"Warning: {where}: {sentence}")
