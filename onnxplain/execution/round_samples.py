"""The sample of each round of a Loop, as nodes: references first, then changed samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.execution.points import Blend, Given, LayerMasks
from onnxplain.execution.sampling import Sampling
from onnxplain.formulas.graph_namespace import Dims, GraphArray, GraphNamespace
from onnxplain.model.constants import quantization
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.transforms.builder import Builder
from onnxplain.transforms.masks import blended
from onnxplain.transforms.regions import Regions


@dataclass(frozen=True, eq=False)
class Changed:
    """The tensor that is changed: an input of a model, or a layer's activation.

    `shape` is that of one sample, (1, ...). `places` is the number of places that a mask of it
    covers if the formula reads masks, else None.
    """

    model: Model
    name: str
    dtype: np.dtype[Any]
    shape: Shape
    places: int | None


@dataclass(frozen=True, eq=False)
class _Segment:
    """Some rounds in a row: `make(part)` adds the nodes for one of them."""

    count: Any
    make: Callable[[GraphArray], Sequence[gs.Tensor]]


class RoundSamples:
    """Adds the nodes that make samples, to the region of `g` that is open."""

    def __init__(self, g: Regions, xp: GraphNamespace, source: Changed) -> None:
        """Make samples from the tensor `source`."""
        self._g, self._xp, self._source = g, xp, source

    def made(
        self, references: Sequence[Given], samplings: Sequence[Sampling], place: gs.Tensor
    ) -> list[gs.Tensor]:
        """The sample at a place among all, and its mask, (1 or N, 1, places), if one is read."""
        partial = functools.partial
        first = [_Segment(one.count, partial(self._reference, one)) for one in references]
        then = [_Segment(one.made.count, partial(self._one, one)) for one in samplings]
        return self._picked([*first, *then], place)

    def weights(self, samplings: Sequence[Sampling], place: gs.Tensor) -> GraphArray:
        """The weight of the changed sample at a place; the samplings must have weights."""
        dims: list[Dims] = []

        def weights(own: Sampling, part: GraphArray) -> list[gs.Tensor]:
            assert own.weights is not None, "there are weights"
            array = own.weights(part)
            dims.append(array.dims)
            return [array.tensor]

        segments = [_Segment(one.made.count, functools.partial(weights, one)) for one in samplings]
        (tensor,) = self._picked(segments, place)
        return self._xp.array(tensor, dims[0])

    def _picked(self, segments: Sequence[_Segment], place: gs.Tensor) -> list[gs.Tensor]:
        """What the segment makes in which a place is; places beyond the ends are the outermost."""
        (one, *rest), g = segments, self._g
        end = g.Sub(_sized(one.count), np.array(1))
        inside = g.Max(g.Min(place, end), np.array(0))
        part = self._xp.array(g.Unsqueeze(inside, np.array([0])), (1,))
        if not rest:
            return list(one.make(part))
        count = _sized(one.count)
        later = g.Sub(place, count)
        return g.either(
            g.Less(place, count), lambda: one.make(part), lambda: self._picked(rest, later)
        )

    def _reference(self, given: Given, part: GraphArray) -> list[gs.Tensor]:
        """A reference in the shape of the samples; its mask is not read."""
        g, source = self._g, self._source
        whole = g.Expand(self._sample(given.make(part)), g.Shape(g.tensor(source.name)))
        sample = g.Cast(whole, to=source.dtype.type)
        no_mask = np.zeros((1, 1, 1), np.float32)
        return [sample] if source.places is None else [sample, g.Identity(no_mask)]

    def _one(self, sampling: Sampling, part: GraphArray) -> list[gs.Tensor]:
        """A changed sample, and its mask if one is read."""
        made, g, source = sampling.made, self._g, self._source
        if isinstance(made, Given):
            return [g.Cast(self._sample(made.make(part)), to=source.dtype.type)]
        weight = made.mask.build(_Fed(g, made.feeds.make(part)), source.shape)
        x = g.Cast(g.tensor(source.name), to=TensorProto.FLOAT)
        sample = blended(g, weight, x, self._absent(made), source.dtype)
        if source.places is None:
            return [sample]
        return [sample, g.Reshape(weight, np.array([-1, 1, source.places]))]

    def _absent(self, made: Blend | LayerMasks) -> gs.Tensor:
        """What is put in place of the masked values."""
        if isinstance(made, Blend):
            return self._sample(made.baseline)
        quantized = quantization(self._source.model, made.layer.tensor)
        return self._g.constant(np.float32(0 if quantized is None else quantized.zero))

    def _sample(self, array: GraphArray) -> gs.Tensor:
        """A sample (1, ...), or (N, 1, ...), as (1 or N, ...)."""
        return _without_samples(self._g, array, len(self._source.shape))


class _Fed(Builder):
    """A builder for the nodes of a mask, whose inputs are arrays that are there already."""

    def __init__(self, g: Regions, arrays: Mapping[str, GraphArray]) -> None:
        self._builder, self._arrays = g, arrays

    def __getattr__(self, op: str) -> Any:
        return getattr(self._builder, op)

    def input(self, name: str, shape: Sequence[int | str], dtype: Any = np.float32) -> gs.Tensor:
        """The array of that name, with one mask, or one for each picture."""
        return _without_samples(self._builder, self._arrays[name], len(shape))


def _without_samples(g: Regions, array: GraphArray, rank: int) -> gs.Tensor:
    """An array of the rank `rank`, without the axis of samples after that of pictures."""
    return array.tensor if array.ndim == rank else g.Squeeze(array.tensor, np.array([1]))


def _sized(count: Any) -> Any:
    """A number of samples for nodes."""
    return count.tensor if isinstance(count, GraphArray) else np.array(count)
