"""Targets for any answer: one of its elements, a weighted sum of them, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.formulas.namespace import Namespace
from onnxplain.targets.target import Target
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True)
class Element(Target):
    """One element of the answer, by its index after the batch axis."""

    index: tuple[int, ...]
    linear: ClassVar[bool] = True
    shares_graph: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The index, as in `element 3,10,10`."""
        return "element " + ",".join(map(str, self.index))

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        place = tuple(i % size for i, size in zip(self.index, shape, strict=True))
        return {"place": np.array(np.ravel_multi_index(place, shape), np.int64)}

    def terms(
        self, xp: Namespace, answer: Any, parameters: Mapping[str, Any]
    ) -> Sequence[tuple[Any, float]]:
        """See `Target`: the element."""
        return [(parameters["place"], 1.0)]

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The element at the index."""
        return xp.take(xp.flatten(answer), parameters["place"])

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the answer must have this element."""
        inside = len(self.index) == len(shape) and all(
            -size <= i < size for i, size in zip(self.index, shape, strict=True)
        )
        if not inside:
            raise TargetError(f"The answer of shape {shape} has no element {self.index}.")


class WeightedSum(Target):
    """A weighted sum of the answer's elements, with the parameter "weights", of one's shape."""

    linear: ClassVar[bool] = True
    shares_graph: ClassVar[bool] = True

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        """The weighted sum."""
        return xp.sum(xp.flatten(parameters["weights"]) * xp.flatten(answer), axis=-1)


@dataclass(frozen=True, eq=False)
class Mask(WeightedSum):
    """A weighted sum of the answer: a region of a segmentation map, a set of classes, ...

    `weights` has the shape of one sample's answer. For the mean score of class 3 in a region, use
    1 / (number of pixels) at the region's pixels of channel 3, and 0 elsewhere.
    """

    weights: FloatArray
    name: str = "mask"

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {"weights": np.asarray(self.weights, np.float32)}

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the weights must have the answer's shape."""
        if self.weights.shape != shape:
            raise TargetError(
                f"The mask has shape {self.weights.shape}, the answer {shape}: they must be the "
                "same."
            )


@dataclass(frozen=True)
class NoClass(Target):
    """No target, for methods whose map is the same for all targets."""

    name: str = "no_class"
    reads: tuple[str, ...] = ()

    def formula(self, xp: Namespace, *read: Any, **parameters: Any) -> Any:
        """NaN, because there is no number to explain."""
        return xp.sum(xp.flatten(read[0]) * 0, axis=-1) + float("nan")


def mean_weights(
    shape: tuple[int, ...], cells: Array, axis: int | None, channel: int | None
) -> FloatArray:
    """Weights of an answer's elements, of `shape`, for their mean over some cells.

    `axis` is the axis of the channels in (N, ...), None if there is none. The mean is over all
    channels if `channel` is None.
    """
    weights = np.zeros((1, *shape), np.float32)
    by_channel = weights[:, None] if axis is None else np.moveaxis(weights, axis, 1)
    chosen = slice(None) if channel is None else slice(channel, channel + 1)
    channels = len(range(by_channel.shape[1])[chosen])
    by_channel[:, chosen, cells] = 1 / (int(cells.sum()) * channels)
    one: FloatArray = weights[0]
    return one
