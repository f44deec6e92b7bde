"""Where a picture of any size is in a model's input, computed when the graph runs.

See `onnxplain.images.geometry.Placement`. A size or a position is int64 (2,), for rows and columns:
a tensor where it depends on the picture, and an array where it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.errors import PreprocessError
from onnxplain.exporting.resample_nodes import double, wide
from onnxplain.images.geometry import Size
from onnxplain.images.preprocess import Preprocess
from onnxplain.tensors import Array
from onnxplain.transforms.builder import Builder, Value


@dataclass(frozen=True, eq=False)
class Span:
    """From `start` up to, not including, `stop`, both int64 (2,)."""

    start: Value
    stop: Value

    def pixels(self, g: Builder, axis: int, more: int = 0) -> Value:
        """The pixels along one axis, int64 (n,), and `more` pixels after them."""
        start, stop = at(g, self.start, axis), at(g, self.stop, axis)
        if isinstance(start, np.ndarray) and isinstance(stop, np.ndarray):
            return np.arange(start[0], stop[0] + more)
        end = g.Squeeze(g.Add(stop, np.array([more])) if more else stop)
        return g.Range(g.Squeeze(start), end, np.array(1))

    def covers(self, size: Value) -> bool:
        """Whether it is everything of a `size`, for pictures of any size."""
        if not isinstance(self.start, np.ndarray) or self.start.any():
            return False
        if isinstance(self.stop, np.ndarray) and isinstance(size, np.ndarray):
            return np.array_equal(self.stop, size)
        return self.stop is size

    def padded(self, g: Builder, maps: gs.Tensor, size: Value, value: Any) -> gs.Tensor:
        """Extend maps (N, rows, columns) of these pixels to a `size`, with `value` around them."""
        if self.covers(size):
            return maps
        none = np.array([0])
        pads = g.Concat(none, self.start, none, g.Sub(size, self.stop), axis=0)
        return g.Pad(maps, pads, value)


@dataclass(frozen=True, eq=False)
class GraphPlacement:
    """See `Placement`; `resized` is the size before the picture is cropped or padded.

    Attributes:
        window: the pixels of the model's input that show the picture.
        shown: the pixels of the resized picture that are in the model's input.
        seen: the picture's pixels of which the model sees at least a part.
    """

    picture: Value
    resized: Value
    model: Array
    window: Span
    shown: Span
    seen: Span

    @classmethod
    def of_input(cls, size: Size) -> GraphPlacement:
        """The model's input as its own picture."""
        model = np.array(size)
        return _whole(model, model, model, Span(np.zeros(2, np.int64), model))


def at(g: Builder, pair: Value, axis: int) -> Value:
    """The number for one axis, (1,)."""
    if isinstance(pair, np.ndarray):
        return pair[axis : axis + 1]
    return g.Gather(pair, np.array([axis]))


def placement(g: Builder, picture: gs.Tensor, preprocess: Preprocess) -> GraphPlacement:
    """Where a picture, (H, W, 3), is in the model's input.

    Raises:
        PreprocessError: pictures of different sizes become inputs of different sizes.
    """
    size = g.Shape(picture, start=0, end=2)
    model = _model_size(preprocess)
    if preprocess.fit == "letterbox":
        return _letterbox(g, size, model)
    if preprocess.fit == "crop" and not isinstance(preprocess.resize, tuple):
        return _crop(g, size, model, preprocess.resize or min(model))
    return _fixed(g, size, preprocess)


def _model_size(preprocess: Preprocess) -> Size:
    height, width = preprocess.size or (None, None)
    if height is None or width is None:
        raise PreprocessError(
            "Pictures of different sizes become inputs of different sizes, and preprocessing in an "
            "exported file has one size: give it, as in --size 224x224."
        )
    return height, width


def _fixed(g: Builder, size: gs.Tensor, preprocess: Preprocess) -> GraphPlacement:
    """The picture is resized to the same size whatever its own."""
    known = preprocess.place((1, 1))
    resized, model = np.array(known.resized), np.array(known.model)
    window, shown = (
        Span(
            *(np.array([getattr(part(axis), end) for axis in (0, 1)]) for end in ("start", "stop"))
        )
        for part in (known.window, known.shown)
    )
    if known.resized == known.model:
        return _whole(size, resized, model, Span(np.zeros(2, np.int64), model))
    return _cut(g, size, resized, model, window, shown)


def _crop(g: Builder, size: gs.Tensor, model: Size, short: int) -> GraphPlacement:
    """See `Placement.crop`."""
    resized = g.Div(g.Mul(size, np.array(short)), g.ReduceMin(size))
    spare = g.Sub(resized, np.array(model))
    half = g.Cast(g.Round(g.Mul(wide(g, spare), double(g, 0.5))), to=np.int64)
    if short >= max(model):
        whole = np.array(model)
        shown = Span(half, g.Add(half, whole))
        return _cut(g, size, resized, whole, Span(np.zeros(2, np.int64), whole), shown)
    around = g.Div(g.Neg(spare), np.array(2))
    offset = g.Where(g.Less(spare, np.array(0)), around, g.Neg(half))
    start = g.Max(offset, np.array(0))
    stop = g.Min(g.Add(offset, resized), np.array(model))
    shown = Span(g.Sub(start, offset), g.Sub(stop, offset))
    return _cut(g, size, resized, np.array(model), Span(start, stop), shown)


def _letterbox(g: Builder, size: gs.Tensor, model: Size) -> GraphPlacement:
    """See `Placement.letterbox`."""
    sides = wide(g, size)
    scale = g.ReduceMin(g.Div(wide(g, np.array(model)), sides))
    rounded = g.Cast(g.Round(g.Mul(sides, scale)), to=np.int64)
    resized = g.Max(rounded, np.array(1))
    spare = wide(g, g.Sub(np.array(model), resized))
    middle = g.Sub(g.Mul(spare, double(g, 0.5)), double(g, 0.1))
    offset = g.Cast(g.Round(middle), to=np.int64)
    return _whole(size, resized, np.array(model), Span(offset, g.Add(offset, resized)))


def _whole(size: Value, resized: Value, model: Array, window: Span) -> GraphPlacement:
    """The model sees the whole picture."""
    none = np.zeros(2, np.int64)
    return GraphPlacement(size, resized, model, window, Span(none, resized), Span(none, size))


def _cut(
    g: Builder, size: gs.Tensor, resized: Value, model: Array, window: Span, shown: Span
) -> GraphPlacement:
    """The model sees a part of the picture."""
    start = g.Div(g.Mul(shown.start, size), resized)
    up = g.Add(g.Mul(shown.stop, size), g.Sub(resized, np.array(1)))
    return GraphPlacement(size, resized, model, window, shown, Span(start, g.Div(up, resized)))
