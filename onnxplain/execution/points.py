"""Changed samples: points of the input space near a sample, and masks of a layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxplain.analysis.layers import Layer
from onnxplain.execution.arrays import fill, nearest
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
    """Points that are computed outside the graph: `make(part)` returns some of `count`, (b, ...).

    They are made only when they are needed, so that memory does not grow with their number.
    """

    count: int
    make: Callable[[slice], FloatArray]

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
class _Masks:
    """Masks that the graph computes from `feeds`, arrays (masks, ...) by name.

    For each batch only the feeds are copied to the device, not the masks.
    """

    mask: Mask
    feeds: Mapping[str, Array]

    @property
    def count(self) -> int:
        """Number of masks."""
        return len(next(iter(self.feeds.values())))


@dataclass(frozen=True, eq=False)
class Blend(_Masks):
    """`mask * x + (1 - mask) * baseline` for each of the masks."""

    baseline: FloatArray

    def form(self, x: FloatArray) -> Hashable:
        """See `Given`."""
        return self.mask, x.shape

    def entered(self, whole: Part, x: FloatArray, outputs: Sequence[str]) -> Model:
        """See `Given`."""
        blended = masked(whole.model, whole.spec, x.shape, self.mask, outputs)
        if whole.exact is None:
            return blended
        return with_batch(blended, PREFIX + next(iter(self.feeds)), whole.exact)

    def shared(self, session: Session, x: FloatArray) -> Mapping[str, object]:
        """See `Given`."""
        return {X: session.place(x), BASELINE: session.place(self.baseline)}

    def fed(self, part: slice, size: int, spec: TensorSpec) -> dict[str, Array]:
        """See `Given`."""
        return {PREFIX + name: fill(array[part], size) for name, array in self.feeds.items()}


@dataclass(frozen=True, eq=False)
class LayerMasks(_Masks):
    """The activation of the layer multiplied by each of the masks."""

    layer: Layer


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
