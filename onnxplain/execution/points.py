"""Changed samples: points of the input space near a sample, and masks of a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxplain.analysis.layers import Layer
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import Mask


@dataclass(frozen=True, eq=False)
class Given:
    """Points that are computed outside the graph: `make(part)` returns some of `count`, (b, ...).

    They are made only when they are needed, so that memory does not grow with their number.
    """

    count: int
    make: Callable[[slice], FloatArray]


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
