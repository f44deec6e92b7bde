"""The pictures of a command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxplain.cli.flags import switches
from onnxplain.errors import PictureError
from onnxplain.explainer import Explainer
from onnxplain.images.picture import MAX_PIXELS
from onnxplain.jobs.inputs import InputImage, find_inputs
from onnxplain.jobs.sources import Inputs, find_all
from onnxplain.tensors import Array

_OPENCV = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS), "OPENCV_LOG_LEVEL": "SILENT"}
"""Read when OpenCV is loaded, which then refuses larger files before it decodes them, and leaves it
to us to say what is wrong with a file."""


_TRUTHS = frozenset({"true", "false", "yes", "no", "on", "off"})


def find_images(images: Sequence[str], recursive: bool = False) -> list[InputImage]:
    """Every picture on this machine that a command line means.

    Raises:
        PictureError: there is no such file, or none that fits a pattern.
    """
    _prepare(images)
    return find_inputs(images, recursive)


def find_job_inputs(images: Sequence[str], recursive: bool) -> Inputs:
    """Every input that a command line means, also in lists and archives and at addresses.

    Raises:
        PictureError: a name means no picture.
        OptionError: a package that is needed to read one is not installed.
    """
    _prepare(images)
    return find_all(images, recursive)


def _prepare(images: Sequence[str]) -> None:
    """Limit decoding, and refuse what is no picture but the value of a switch."""
    limit_decoding()
    stray = next((one for one in images if one.lower() in _TRUTHS and not Path(one).exists()), None)
    if stray:
        raise PictureError(
            f"{stray} is no picture: a switch takes no value, so write --relu or --no-relu, for "
            f"example; the switches are {', '.join(switches())}."
        )


def limit_decoding() -> None:
    """Let OpenCV refuse pictures that are too large before it decodes them, and print nothing."""
    for name, value in _OPENCV.items():
        os.environ.setdefault(name, value)


def gray(explainer: Explainer) -> Array:
    """A gray picture of the model's size."""
    return np.full((*explainer.preprocess.trial_size, 3), 127.5, np.float32)
