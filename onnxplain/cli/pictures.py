"""The pictures of a command line: finding them, naming them, and what may be wrong with one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxplain.cli.console import Console
from onnxplain.cli.flags import SWITCHES
from onnxplain.errors import (
    LayerError,
    MapError,
    ModelError,
    OnnxplainError,
    OptionError,
    PictureError,
)
from onnxplain.explainer import Explainer
from onnxplain.images.picture import MAX_PIXELS, find_pictures
from onnxplain.images.preprocess import Preprocess
from onnxplain.results.explanation import Explanation
from onnxplain.results.names import unique_names
from onnxplain.tensors import Array

_OPENCV = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS), "OPENCV_LOG_LEVEL": "SILENT"}
"""Read when OpenCV is loaded, which then refuses larger files before it decodes them, and leaves it
to us to say what is wrong with a file."""


_TRUTHS = frozenset({"true", "false", "yes", "no", "on", "off"})


@dataclass(frozen=True)
class Sitter:
    """A picture's file, what to call it in names of files, and beside a progress bar."""

    path: Path
    name: str
    title: str


def find_sitters(images: Sequence[str]) -> list[Sitter]:
    """Every picture that a command line means.

    Raises:
        PictureError: there is no such file, or none that fits a pattern.
    """
    for name, value in _OPENCV.items():
        os.environ.setdefault(name, value)
    if not images:
        raise PictureError("No picture was given: name a file, a folder, or a pattern in quotes.")
    stray = next((one for one in images if one.lower() in _TRUTHS and not Path(one).exists()), None)
    if stray:
        raise PictureError(
            f"{stray} is no picture: a switch takes no value, so write --relu or --no-relu, for "
            f"example; the switches are {', '.join(SWITCHES)}."
        )
    paths = find_pictures(images)
    names = unique_names(path.stem for path in paths)
    if len(paths) == 1:
        return [Sitter(paths[0], names[0], paths[0].name)]
    titles = [f"{path.name} ({i} of {len(paths)})" for i, path in enumerate(paths, start=1)]
    return [Sitter(*one) for one in zip(paths, names, titles, strict=True)]


def no_sitter(model: Path) -> Sitter:
    """The model itself, in place of a picture, for methods that make one."""
    return Sitter(model, model.stem, model.name)


def gray(explainer: Explainer) -> Array:
    """A picture of nothing, of the model's size."""
    return np.full((*(explainer.preprocess.size or (224, 224)), 3), 127.5, np.float32)


def errors_of_one_picture(explainer: Explainer) -> tuple[type[OnnxplainError], ...]:
    """Errors that the next picture need not meet; one of another size may suit the model better."""
    own_size = explainer.preprocess.size is None
    sized = (ModelError, LayerError, OptionError) if own_size else ()
    return (PictureError, MapError, *sized)


def told_apart(
    found: Sequence[Explanation | MapError],
) -> tuple[list[Explanation], list[MapError]]:
    """The explanations, and what is said of targets without, once for each."""
    errors = {str(one): one for one in found if isinstance(one, MapError)}
    return [one for one in found if isinstance(one, Explanation)], list(errors.values())


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
