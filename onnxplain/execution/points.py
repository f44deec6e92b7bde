"""Changed samples: points of the input space near a sample, and masks of a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxplain.analysis.layers import Layer
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import Mask


@dataclass(frozen=True, eq=False)
class Given:
    """Points that are computed outside the graph: `make(part)` gives some of `count`, (b, ...).

    They are made as they are needed, so that memory does not grow with their number.
    """

    count: int
    make: Callable[[slice], FloatArray]


@dataclass(frozen=True, eq=False)
class _Masks:
    """Masks that `feeds` describe.

    They are made inside the graph: only the feeds travel to the device for each batch.
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
    """The activation of the layer times each of the masks."""

    layer: Layer


class Following(Given):
    """Points of which each is made after the one before was seen: it depends on what was found."""


Points = Given | Blend

PADDED = (1, 2, 3, 5, 8)
"""Numbers of targets that graphs are made for: a session for every number would be too many.

Unused targets are copies of the last. So the common top3 and top5 have graphs of their own.
"""

TARGETS_AT_ONCE = PADDED[-1]
"""How many targets one forward pass serves; with more, the graph and its memory grow too large."""


def padded_count(targets: int) -> int:
    """How many targets the graph computes that serves so many."""
    return next(size for size in PADDED if size >= targets)


def target_chunks(targets: int, most: int = TARGETS_AT_ONCE) -> Iterator[Sequence[int]]:
    """The numbers of `targets`, in groups that share their forward passes."""
    for start in range(0, targets, most):
        yield range(start, min(start + most, targets))


def passes(points: int, targets: int, before: int = 0, forwards: int = 1) -> dict[str, int]:
    """The passes that gradients of some targets at some points take, with the forwards `before`.

    `forwards` are those of one point for a group of targets.
    """
    groups = [len(group) for group in target_chunks(targets)]
    return {
        "forward_passes": before + forwards * points * len(groups),
        "backward_passes": points * sum(map(padded_count, groups)),
    }
