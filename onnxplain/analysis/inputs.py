"""The input of a model that is explained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from onnxplain.analysis.token_inputs import takes_ids
from onnxplain.errors import ModelError
from onnxplain.model.model import Model
from onnxplain.suggestions import closest
from onnxplain.tensors import Array, TensorSpec

_FOR_TEXT = (
    " Give a text with --text TEXT. A model of texts needs its tokenizer.json next to it, or "
    "--tokenizer FILE."
)


def explained_input(model: Model, given: Collection[str], name: str | None = None) -> TensorSpec:
    """The input called `name`, or else the only one whose name is not in `given`.

    Where there are several, the only one that can be a picture is returned, see `is_picture`.

    Raises:
        ModelError: there is no such input, there are several candidates, or it holds no real
            numbers or has no axis of samples.
    """
    specs = {spec.name: spec for spec in model.inputs}
    for asked in (*given, *([name] if name is not None else [])):
        if asked not in specs:
            raise ModelError(f"The model has no input {asked!r}{closest(asked, specs)}.")
    if name is not None:
        return _explainable(specs[name])
    left = [spec for spec in model.inputs if spec.name not in given]
    pictures = [spec for spec in left if is_picture(spec)]
    for choice in (left, pictures):
        if len(choice) == 1:
            return _explainable(choice[0])
    listed = ", ".join(f"{spec.name} {spec.sizes}" for spec in left) or "none"
    for_text = _FOR_TEXT if any(map(takes_ids, left)) else ""
    raise ModelError(
        f"It is not clear which input to explain (open: {listed}): name the others' values with "
        f"--input NAME=VALUE, or the one to explain with --explain NAME.{for_text}"
    )


def _explainable(spec: TensorSpec) -> TensorSpec:
    if spec.dtype == object:
        raise ModelError(
            f"The input {spec.name!r} takes texts, not numbers, and cannot be explained: cut the "
            "model after the part that turns texts into numbers."
        )
    if spec.dtype.kind == "c":
        raise ModelError(
            f"The input {spec.name!r} takes complex numbers, and cannot be explained: export the "
            "model with an input of real numbers."
        )
    if spec.shape == ():
        raise ModelError(
            f"The input {spec.name!r} is a single number without an axis of samples: export the "
            "model with an input (N, ...)."
        )
    return spec


_OF_SIZE: Mapping[str, Callable[[int, int], Array]] = {
    "im_shape": lambda rows, columns: np.array([[rows, columns]]),
    "image_shape": lambda rows, columns: np.array([[rows, columns]]),
    "orig_target_sizes": lambda rows, columns: np.array([[columns, rows]]),
    "pixel_mask": lambda rows, columns: np.ones((1, rows, columns)),
    "scale_factor": lambda rows, columns: np.ones((1, 2)),
}
"""Values of inputs that tell a detector the size of its picture, by their usual names.

With them, boxes are in pixels of the model's input. PaddleDetection has im_shape and scale_factor,
YOLOv3 image_shape, RT-DETR orig_target_sizes (width first), and DETR pixel_mask.
"""


def follows_from_size(spec: TensorSpec) -> bool:
    """Whether the value of an input only tells the size of the picture; see `size_value`."""
    return spec.name in _OF_SIZE


def size_value(spec: TensorSpec, size: tuple[int, int]) -> Array:
    """The value of an input for which `follows_from_size` is true; `size` is (rows, columns)."""
    return _OF_SIZE[spec.name](*size).astype(spec.dtype)


def require_picture(spec: TensorSpec) -> None:
    """Check that an input takes pictures.

    Raises:
        ModelError: type or shape of the input is not that of a batch of pictures.
    """
    if not is_picture(spec):
        text = "a text with --text TEXT, or " if takes_ids(spec) else ""
        raise ModelError(
            f"The input {spec.name!r} takes {spec.sizes} {spec.dtype}, which is no picture "
            f"(N, channels, height, width) or (N, height, width, channels): explain {text}an array "
            "from a .npy file, or with Explainer.explain or Explainer.attribute."
        )


def is_picture(spec: TensorSpec) -> bool:
    """Whether an input has numbers, rank 4, and 1 or 3 channels; undeclared dimensions may fit."""
    if spec.dtype.kind not in "fiu" and spec.dtype.name != "bfloat16":
        return False
    if spec.shape is None:
        return True
    if len(spec.shape) != 4:
        return False
    first, last = spec.shape[1], spec.shape[3]
    return last in (1, 3) or first in (1, 3) or not isinstance(first, int)
