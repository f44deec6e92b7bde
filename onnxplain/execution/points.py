"""Changed samples: points of the input space near a sample, and masks of a layer.

Functions make some of the samples at a time. For numpy these are chosen by a slice. In a graph, see
`execution.rounds`, the index of one of them is an array, (1,).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.execution.arrays import fill, nearest
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.model.model import Model
from onnxplain.runtime.session import Session
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.fixed_batch import with_batch
from onnxplain.transforms.masks import BASELINE, Mask, X, masked


@dataclass(frozen=True, eq=False)
class Part:
    """A model, or the part of it after a layer, whose input `spec` is perturbed.

    `sides` returns the values of all other inputs, by name, for a given batch size. `exact` is the
    batch size that the model requires, None if it takes any.
    """

    model: Model
    spec: TensorSpec
    sides: Callable[[int], Mapping[str, Array]]
    exact: int | None


@dataclass(frozen=True, eq=False)
class Given:
    """Points that are computed by a formula: `make(part)` returns some of `count`, (b, ...).

    They are made only when they are needed, so that memory does not grow with their number.
    """

    count: int
    make: Callable[[Any], Any]

    def form(self, x: FloatArray) -> Hashable:
        """Points near samples `x` with equal forms can share a graph."""
        return None

    def entered(self, whole: Part, x: FloatArray, outputs: Sequence[str]) -> Model:
        """The part of `whole` that computes `outputs`, with nodes that make the points."""
        return whole.model

    def shared(self, session: Session, x: FloatArray) -> Mapping[str, object]:
        """Feeds that are the same for all points, placed on the device; by input name."""
        return {}

    def fed(self, part: slice, size: int, spec: TensorSpec) -> dict[str, Array]:
        """Feeds for some of the points, by input name, padded to `size` by repeating the last."""
        return {spec.name: fill(nearest(self.make(part), spec.dtype), size)}


@dataclass(frozen=True, eq=False)
class Feeds:
    """What masks are computed from: `make(part)` returns that of some of `count` masks, by name.

    `shared` is the same for all masks; each array has a first axis of size 1.
    """

    count: Any
    make: Callable[[Any], Mapping[str, Any]]
    shared: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, arrays: Mapping[str, Array], xp: Namespace = NUMPY) -> Feeds:
        """The feeds of arrays of numpy, (masks, ...) by name."""
        count = len(next(iter(arrays.values())))
        return cls(count, lambda part: {name: xp.rows(a, part) for name, a in arrays.items()})

    def after(self, first: int) -> Feeds:
        """Those of all masks but the `first` ones, which are chosen by slices."""

        def make(part: slice) -> Mapping[str, Any]:
            return self.make(slice(part.start + first, part.stop + first))

        return replace(self, count=self.count - first, make=make)

    def led_by(self, first: Mapping[str, Array]) -> Feeds:
        """Those of a mask that comes before all others, (1, ...) by name; chosen by slices."""

        def make(part: slice) -> Mapping[str, Any]:
            rest = self.make(slice(max(part.start - 1, 0), max(part.stop - 1, 0)))
            if part.start > 0 or part.stop == 0:
                return rest
            return {name: np.concatenate([array, rest[name]]) for name, array in first.items()}

        return replace(self, count=self.count + 1, make=make)


@dataclass(frozen=True, eq=False)
class _Masks:
    """Masks that the graph computes from `feeds`.

    For each batch only the feeds are copied to the device, not the masks.
    """

    mask: Mask
    feeds: Feeds

    @property
    def count(self) -> Any:
        """Number of masks."""
        return self.feeds.count


@dataclass(frozen=True, eq=False)
class Blend(_Masks):
    """`mask * x + (1 - mask) * baseline` for each of the masks."""

    baseline: Any

    def form(self, x: FloatArray) -> Hashable:
        """See `Given`."""
        return self.mask, x.shape

    def entered(self, whole: Part, x: FloatArray, outputs: Sequence[str]) -> Model:
        """See `Given`."""
        blended = masked(whole.model, whole.spec, x.shape, self.mask, outputs)
        if whole.exact is None:
            return blended
        first = next(iter(self.feeds.make(slice(0, 0))))
        return with_batch(blended, PREFIX + first, whole.exact)

    def shared(self, session: Session, x: FloatArray) -> Mapping[str, object]:
        """See `Given`."""
        shared = {PREFIX + name: array for name, array in self.feeds.shared.items()}
        given = {X: x, BASELINE: self.baseline, **shared}
        return {name: session.place(array) for name, array in given.items()}

    def fed(self, part: slice, size: int, spec: TensorSpec) -> dict[str, Array]:
        """See `Given`."""
        fed = self.feeds.make(part)
        return {PREFIX + name: fill(array, size) for name, array in fed.items()}


@dataclass(frozen=True, eq=False)
class LayerMasks(_Masks):
    """The activation of the layer multiplied by each of the masks.

    `ones` is what a mask of ones is computed from, (1, ...) by name, for formulas that compare with
    the score of the sample. The part of the model after the layer may round that score in another
    way than the whole model, and a sum over many channels multiplies the difference.
    """

    layer: Layer
    ones: Mapping[str, Array] | None = None


class Following(Given):
    """Points that are made one by one: each depends on the results at the point before it."""


Points = Given | Blend

PADDED = (1, 2, 3, 5, 8)
"""Numbers of targets that graphs are made for: a session for every number would be too many.

A smaller number of targets is padded with copies of the last target. The common top3 and top5
need no padding.
"""

TARGETS_AT_ONCE = PADDED[-1]
"""The most targets that share a forward pass; with more, the graph needs too much memory."""


def padded_count(targets: int) -> int:
    """The number of targets in the graph for `targets` targets: the next number in `PADDED`."""
    return next(size for size in PADDED if size >= targets)


def target_chunks(targets: int, most: int = TARGETS_AT_ONCE) -> Iterator[Sequence[int]]:
    """The indices 0 to `targets` - 1, in groups of at most `most` that share a forward pass."""
    for start in range(0, targets, most):
        yield range(start, min(start + most, targets))


def passes(points: int, targets: int, before: int = 0, forwards: int = 1) -> dict[str, int]:
    """How many passes the gradients of `targets` targets at `points` points take.

    `before` forward passes are added; `forwards` is their number per point and group of targets.
    """
    groups = [len(group) for group in target_chunks(targets)]
    return {
        "forward_passes": before + forwards * points * len(groups),
        "backward_passes": points * sum(map(padded_count, groups)),
    }
