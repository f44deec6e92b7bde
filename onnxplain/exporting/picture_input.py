"""A model's input from the pixels of a picture of any size, as nodes of opset 18 or newer.

The nodes compute what `onnxplain.images.preprocess.Preprocess.apply` computes. Operators for
resizing, such as Resize, have other filters in part, so each filter is a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.exporting.placement_nodes import GraphPlacement, at, placement
from onnxplain.exporting.resample_nodes import Axis, resize_matrices
from onnxplain.images.preprocess import GRAY, Preprocess
from onnxplain.transforms.builder import Builder

PICTURE: Final = "picture"
"""The name of the input: uint8 (height, width, 3), RGB."""

_CHANNELS_FIRST = [2, 0, 1]
_CHANNELS_LAST = [1, 2, 0]


@dataclass(frozen=True, eq=False)
class PictureInput:
    """The input `picture`, and the model's input that nodes make from it.

    Attributes:
        picture: uint8 (height, width, 3), RGB.
        tensor: the model's input, (1, ...), in the model's type and layout.
        placement: where the picture is in the model's input.
    """

    picture: gs.Tensor
    tensor: gs.Tensor
    placement: GraphPlacement


def picture_input(g: Builder, preprocess: Preprocess, name: str = PICTURE) -> PictureInput:
    """Add the input `name`, a picture, and nodes that turn it into the model's input.

    Raises:
        PreprocessError: pictures of different sizes become inputs of different sizes.
    """
    picture = gs.Variable(name, np.dtype(np.uint8), ["height", "width", 3])
    where = placement(g, picture, preprocess)
    g.graph.inputs.append(picture)
    planes = _placed(g, _resized(g, picture, where, preprocess), where, preprocess.pad)
    return PictureInput(picture, _normalized(g, planes, preprocess), where)


def _resized(
    g: Builder, picture: gs.Tensor, where: GraphPlacement, preprocess: Preprocess
) -> gs.Tensor:
    """The shown part of the resized picture, float32 (3, rows, columns) in 0..255."""
    axes = (
        Axis(at(g, where.picture, axis), at(g, where.resized, axis), where.shown.pixels(g, axis))
        for axis in (0, 1)
    )
    down, across = resize_matrices(g, (next(axes), next(axes)), preprocess.interpolation)
    # One large product is faster than one for each channel, so channels stay last until here.
    lines = g.Reshape(g.Cast(picture, to=np.float32), np.array([0, -1]))
    rows = g.Reshape(g.MatMul(down, lines), np.array([0, -1, 3]))
    planes = g.Transpose(rows, perm=_CHANNELS_FIRST)
    resized = g.MatMul(planes, g.Transpose(across, perm=[1, 0]))
    return g.Clip(resized, np.float32(0), np.float32(255))


def _placed(g: Builder, shown: gs.Tensor, where: GraphPlacement, pad: float) -> gs.Tensor:
    """The shown part with what is around it: float32 (3, height, width) of the model's input."""
    return where.window.padded(g, shown, where.model, np.float32(pad))


def _normalized(g: Builder, rgb: gs.Tensor, preprocess: Preprocess) -> gs.Tensor:
    """See `Preprocess`: tensor = (v * scale - mean) / std."""
    values = _from_rgb(g, rgb, preprocess.channels)
    if preprocess.scale != 1:
        values = g.Mul(values, np.float32(preprocess.scale))
    if any(preprocess.mean):
        values = g.Sub(values, _per_channel(preprocess.mean))
    if any(number != 1 for number in preprocess.std):
        values = g.Div(values, _per_channel(preprocess.std))
    if preprocess.layout == "NHWC":
        values = g.Transpose(values, perm=_CHANNELS_LAST)
    if preprocess.dtype.kind in "iu":
        limits = np.iinfo(preprocess.dtype)
        values = g.Clip(g.Round(values), np.float32(limits.min), np.float32(limits.max))
    cast = values if preprocess.dtype == np.float32 else g.Cast(values, to=preprocess.dtype.type)
    return g.Reshape(cast, np.array(_input_shape(preprocess)))


def _from_rgb(g: Builder, rgb: gs.Tensor, channels: str) -> gs.Tensor:
    if channels == "GRAY":
        return g.ReduceSum(g.Mul(rgb, GRAY[:, None, None]), np.array([0]))
    return g.Gather(rgb, np.array([2, 1, 0])) if channels == "BGR" else rgb


def _per_channel(numbers: tuple[float, ...]) -> np.ndarray:
    return np.array(numbers, np.float32)[:, None, None]


def _input_shape(preprocess: Preprocess) -> tuple[int, ...]:
    size = preprocess.trial_size
    channels = preprocess.channel_count
    return (1, channels, *size) if preprocess.layout == "NCHW" else (1, *size, channels)
