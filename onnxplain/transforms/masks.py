"""Perturbed inputs computed in the graph: only a few numbers per mask are copied to the device.

A masked model reads one sample `x`, one `baseline` of the same shape, and the parameters of a batch
of masks. It computes `mask * x + (1 - mask) * baseline` and runs the rest of the model on the
result. Unlike `baseline + mask * (x - baseline)`, this is exact where the mask is 0 or 1.

Every mask uses only operators that exist since opset 7.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.interpolation import interpolation
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import extract

X = PREFIX + "x"
BASELINE = PREFIX + "baseline"
MASK = PREFIX + "mask"


class Mask(Protocol):
    """Computes a batch of B masks for a tensor of a known shape from a few inputs."""

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """Add the inputs and return a float32 mask that broadcasts to (B, *shape[1:])."""


@dataclass(frozen=True)
class Share:
    """The same number everywhere. Input: `share`, (B, 1, ...)."""

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        return g.input("share", ("batch", *[1] * (len(shape) - 1)))


@dataclass(frozen=True)
class Keep:
    """1 inside a box, 0 outside. Inputs: `start_<axis>`, `stop_<axis>`, (B, 1, ...), pixels."""

    axes: tuple[int, ...]

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        inside = functools.reduce(g.And, (_within(g, axis, shape) for axis in self.axes))
        return g.Cast(inside, to=np.float32)


class Erase(Keep):
    """0 inside a box, 1 outside. Inputs as for `Keep`."""

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        return g.Sub(np.float32(1), super().build(g, shape))


@dataclass(frozen=True)
class Upsampled:
    """A small map enlarged bilinearly over `axes` (rows, columns), then scaled to [0, 1].

    Input: `grid`, (B, rows, columns); no map may be constant. Half-pixel centers, edges clamped.
    """

    axes: tuple[int, int]
    grid: tuple[int, int]

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        grid = g.input("grid", ("batch", *self.grid))
        down, across = (
            interpolation(shape[axis], size)
            for axis, size in zip(self.axes, self.grid, strict=True)
        )
        large = g.MatMul(down, g.MatMul(grid, across.T))
        # GlobalMaxPool is the same in all opsets; ReduceMax and ReduceMin are not.
        high = _peak(g, large)
        low = g.Neg(_peak(g, g.Neg(large)))
        # A grid larger than the input can become constant: then the mask is 0, not 0 / 0.
        span = g.Add(g.Sub(high, low), np.finfo(np.float32).tiny)
        scaled = g.Div(g.Sub(large, low), span)
        return _spread(g, scaled, self.axes, shape)


@dataclass(frozen=True)
class Shifted:
    """A small random grid enlarged linearly along `axes` to `size`, then cropped to the input.

    Inputs: `grid`, (B, *grid), and `shift_<axis>`, (B, 1, 1), the offset of the crop in pixels.
    """

    axes: tuple[int, ...]
    grid: tuple[int, ...]
    size: tuple[int, ...]

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        large = g.input("grid", ("batch", *self.grid))
        for axis, cells, size in zip(self.axes, self.grid, self.size, strict=True):
            # Each enlarged axis becomes the last, so the order is restored after all axes.
            rows = g.Reshape(large, np.array([0, cells, -1]))
            enlarged = g.MatMul(self._interpolation(g, axis, shape[axis], cells, size), rows)
            large = g.Transpose(enlarged, perm=[0, 2, 1])
        return _spread(g, large, self.axes, shape)

    @staticmethod
    def _interpolation(g: Builder, axis: int, length: int, cells: int, size: int) -> gs.Tensor:
        """Weights of linear interpolation, (B, length, cells), at positions moved by the shift."""
        shift = g.input(f"shift_{axis}", ("batch", 1, 1))
        pixels = (np.arange(length, dtype=np.float32) + 0.5).reshape(1, -1, 1)
        place = g.Sub(g.Mul(g.Add(shift, pixels), np.float32(cells / size)), np.float32(0.5))
        clamped = g.Sub(g.Relu(place), g.Relu(g.Sub(place, np.float32(cells - 1))))
        distance = g.Abs(g.Sub(clamped, np.arange(cells, dtype=np.float32)))
        return g.Relu(g.Sub(np.float32(1), distance))


@dataclass(frozen=True)
class Along:
    """One number for each position along an axis. Input: `along`, (B, positions)."""

    axis: int

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        along = g.input("along", ("batch", shape[self.axis]))
        return _spread(g, along, (self.axis,), shape)


@dataclass(frozen=True)
class Before:
    """1 where the step of a place is smaller than that of the mask, else 0.

    Inputs: `steps`, (1, *places along axes), which all masks share, and `before`, (B, 1, ...).
    Both are whole numbers below 2^24. So samples with different orders of places share a graph.
    """

    axes: tuple[int, ...]

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        steps = g.input("steps", (1, *(shape[axis] for axis in self.axes)))
        before = g.input("before", ("batch", *[1] * (len(shape) - 1)))
        return g.Cast(g.Less(_spread(g, steps, self.axes, shape), before), to=np.float32)


@dataclass(frozen=True)
class Drawn:
    """The mask itself. Input: `drawn`, (B, *places along axes)."""

    axes: tuple[int, ...]

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        drawn = g.input("drawn", ("batch", *(shape[axis] for axis in self.axes)))
        return _spread(g, drawn, self.axes, shape)


@dataclass(frozen=True)
class Segmented:
    """One number for each segment of the positions along `axes`. Input: `segments`, (B, count).

    `labels` holds the segment of each position, as the bytes of int64 in row-major order: so masks
    over the same segments compare equal.
    """

    axes: tuple[int, ...]
    count: int
    labels: bytes

    def build(self, g: Builder, shape: Shape) -> gs.Tensor:
        """See `Mask`."""
        segments = g.input("segments", ("batch", self.count))
        places = g.Gather(segments, np.frombuffer(self.labels, np.int64), axis=1)
        return _spread(g, places, self.axes, shape)


def box_feeds(rank: int, boxes: Mapping[int, tuple[Array, Array]]) -> dict[str, FloatArray]:
    """The inputs of `Keep` and `Erase` for a tensor of `rank` axes.

    `boxes` holds by axis the start and the exclusive stop of each of B boxes in pixels, both (B,).
    """
    feeds = {}
    for axis, ends in boxes.items():
        for end, places in zip(("start", "stop"), ends, strict=True):
            feeds[f"{end}_{axis}"] = places.astype(np.float32).reshape(-1, *[1] * (rank - 1))
    return feeds


def masked(
    model: Model, spec: TensorSpec, shape: Shape, mask: Mask, outputs: Iterable[str]
) -> Model:
    """The model with its input `spec` replaced by a masked sample, and with the given `outputs`.

    The name `MASK` among `outputs` gives the mask. `shape` is the shape of one sample, (1, ...). A
    batch of masks becomes the batch of the model: the model must accept any batch, or be run with
    one mask at a time.
    """
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, MASK + "/")
    x, baseline = g.input("x", shape), g.input("baseline", shape)
    weight = mask.build(g, shape)
    blended(g, weight, x, baseline, spec.dtype).name = spec.name
    g.Identity(weight).name = MASK
    others = [value for value in model.proto.graph.input if value.name != spec.name]
    perturbation = gs.export_onnx(graph, do_type_check=False).graph
    inputs = [*others, *perturbation.input]
    return replace(model, proto=extract(model.proto, outputs, inputs, perturbation))


def blended(
    g: Builder, weight: gs.Tensor, x: gs.Tensor, baseline: gs.Tensor, dtype: np.dtype[Any]
) -> gs.Tensor:
    """`weight * x + (1 - weight) * baseline` in `dtype`; integers are rounded."""
    blend = g.Add(g.Mul(weight, x), g.Mul(g.Sub(np.float32(1), weight), baseline))
    if dtype.kind in "iu":
        blend = g.Floor(g.Add(blend, np.float32(0.5)))
    return g.Cast(blend, to=dtype.type)


def _within(g: Builder, axis: int, shape: Shape) -> gs.Tensor:
    """Whether the center of each pixel is between start and stop along an axis."""
    ones = (1,) * (len(shape) - 1)
    start, stop = (g.input(f"{end}_{axis}", ("batch", *ones)) for end in ("start", "stop"))
    centers = np.arange(shape[axis], dtype=np.float32) + 0.5
    centers = centers.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return g.And(g.Greater(centers, start), g.Less(centers, stop))


def _peak(g: Builder, maps: gs.Tensor) -> gs.Tensor:
    """Maximum of each map, (B, 1, 1)."""
    planes = g.Reshape(maps, np.array([0, 1, -1]))
    return g.GlobalMaxPool(planes)


def _spread(g: Builder, maps: gs.Tensor, axes: tuple[int, ...], shape: Shape) -> gs.Tensor:
    """Reshape maps of (B, ...) to the rank of `shape`, with size 1 on all axes not in `axes`."""
    dims = [shape[i] if i in axes else 1 for i in range(len(shape))]
    return g.Reshape(maps, np.array([-1, *dims[1:]]))
