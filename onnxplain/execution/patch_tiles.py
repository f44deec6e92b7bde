"""What is fed for some windows: the rows that patches are fetched from, and which of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from onnxplain.analysis.patches.axes import AxisMap, Span
from onnxplain.tensors import Array
from onnxplain.transforms.patches import Index, Patched


@dataclass(frozen=True, eq=False)
class Tile:
    """The feeds of windows that are run together.

    `indices` are the index inputs, by name. `bands` has the rows of each cache that they count, by
    the name of the cache: the others are not fetched, so that no run need copy them.
    """

    indices: Mapping[str, Array]
    bands: Mapping[str, slice]

    @property
    def byte_count(self) -> int:
        """Bytes of the indices."""
        return sum(array.nbytes for array in self.indices.values())


def tiles(patched: Patched, windows: Array, each: int) -> list[Tile]:
    """The feeds of windows, `each` at a time; `windows` are their numbers.

    They are made for all tiles at once: most of the time is that of calls, not of elements.
    """
    split = _Split.of(windows, each)
    places = {name: _places(index, split) for name, index in patched.indices.items()}
    bands: dict[Hashable, _Band] = {}
    for name, index in patched.indices.items():
        found, key = _band(index, *places[name], split), (id(index.source.region), index.is_picture)
        bands[key] = bands[key].united(found) if key in bands else found
    made = {
        name: _rows(index, *places[name], bands[id(index.source.region), index.is_picture], split)
        for name, index in patched.indices.items()
    }
    cached = {
        name: (bands[id(patch.region), patch is patched.picture], patch.region.whole[1][1])
        for name, patch in patched.caches.items()
    }
    return [
        Tile(
            {name: arrays[i] for name, arrays in made.items()},
            {name: band.rows(first, width) for name, (band, width) in cached.items()},
        )
        for i, first in enumerate(split.firsts)
    ]


class _Split(NamedTuple):
    """Windows in tiles: their numbers, where each tile starts, and how many windows it has."""

    windows: Array
    firsts: Array
    counts: Array

    @classmethod
    def of(cls, windows: Array, each: int) -> _Split:
        firsts = np.arange(0, len(windows), each)
        return cls(windows, firsts, np.diff(firsts, append=len(windows)))

    def reduced(self, ufunc: np.ufunc, values: Array) -> Array:
        """For each window, (windows, 1), what `ufunc` makes of the `values` of its tile."""
        found: Array = np.repeat(ufunc.reduceat(values, self.firsts), self.counts)
        return found.astype(np.int32)[:, None]

    @property
    def places(self) -> Array:
        """The place of each window in its tile, (windows, 1)."""
        first = np.repeat(self.firsts, self.counts)
        found: Array = (np.arange(len(self.windows)) - first).astype(np.int32)[:, None]
        return found


class _Places(NamedTuple):
    """The positions along one axis that windows are fetched from.

    Attributes:
        at: the positions, (windows, n), for the largest region of all tiles.
        counts: the number of positions in each tile.
        start: the first position of each window's patch, (windows, 1).
        patch: the size of the patches in the window's tile, (windows, 1).
        is_inside: whether the positions are on the map, and `is_changed` whether in the patch.
    """

    at: Array
    counts: list[int]
    start: Array
    patch: Array
    is_inside: Array
    is_changed: Array

    @property
    def is_in_patch(self) -> Array:
        """Whether a window's patch has all of the positions on the map, (windows,)."""
        found: Array = np.all(self.is_changed >= self.is_inside, axis=1)
        return found


class _Band(NamedTuple):
    """The rows of a map that a tile fetches, from `low` to the exclusive `high`, (windows, 1)."""

    low: Array
    high: Array

    def united(self, other: _Band) -> _Band:
        """The smallest band that contains both; an empty one has no place."""
        low = np.where(self.low < self.high, self.low, other.low)
        other_low = np.where(other.low < other.high, other.low, low)
        return _Band(np.minimum(low, other_low), np.maximum(self.high, other.high))

    def rows(self, window: int, width: int) -> slice:
        """The positions on a map of this width, for the tile of a window."""
        return slice(int(self.low[window, 0]) * width, int(self.high[window, 0]) * width)


def _places(index: Index, split: _Split) -> tuple[_Places, _Places]:
    """The positions of an index's source, along rows and along columns."""
    source, wanted = index.source.region, index.region
    given = zip(index.maps, source[:2], wanted[:2], source.places, strict=True)
    rows, columns = (_along(*one, split, index.is_picture) for one in given)
    return rows, columns


def _along(
    axis: AxisMap, span: Span, wanted: Span, size: int, split: _Split, is_picture: bool
) -> _Places:
    first = wanted.start[split.windows]
    sizes = np.maximum.reduceat(wanted.stop[split.windows] - first, split.firsts).tolist()
    counts = {n: axis.positions(first[:1], n).shape[1] for n in set(sizes)}
    at = axis.positions(first, max(sizes)).astype(np.int32)
    start, stop = (ends[split.windows].astype(np.int32)[:, None] for ends in span)
    patch = split.reduced(np.maximum, (stop - start)[:, 0])
    # A patch is as large as the largest one of the tile, but only its window fills the picture.
    is_changed = (at >= start) & (at < (stop if is_picture else start + patch))
    is_inside = (at >= 0) & (at < size)
    return _Places(at, [counts[n] for n in sizes], start, patch, is_inside, is_changed)


def _band(index: Index, rows: _Places, columns: _Places, split: _Split) -> _Band:
    """The rows of a cache that are fetched; none where patches have all that is fetched.

    Of the picture, they are also those of the sample of fill values.
    """
    ((top, _), (height, _)) = index.source.region.whole
    first, last = (np.clip(ends - top, 0, height) for ends in (rows.at.min(1), rows.at.max(1) + 1))
    if not index.is_picture:
        last = np.where(rows.is_in_patch & columns.is_in_patch, 0, last)
        first = np.where(last, first, height)
    low = split.reduced(np.minimum, first)
    high = split.reduced(np.maximum, last)
    return _Band(np.minimum(low, high), high)


def _rows(index: Index, rows: _Places, columns: _Places, band: _Band, split: _Split) -> list[Array]:
    """For each tile, the rows of a source that the positions of a region are fetched from.

    The rows are `fills`, those of the map in the `band`, and those of the patches, one window after
    the other. The picture has the sample of fill values in place of patches.
    """
    (top, left), (_, width) = index.source.region.whole
    known = (band.high - band.low) * width
    cached = _sum((rows.at - top - band.low) * width + index.fills, columns.at - left)
    if index.is_picture:
        patches = cached + known[:, :, None]
    else:
        before = split.places * rows.patch * columns.patch + known + index.fills
        patches = _sum((rows.at - rows.start) * columns.patch + before, columns.at - columns.start)
    found = np.where(_both(rows.is_changed, columns.is_changed), patches, cached)
    found = np.where(_both(rows.is_inside, columns.is_inside), found, np.int32(index.slot))
    ends = zip(split.firsts, split.counts, rows.counts, columns.counts, strict=True)
    return [np.ascontiguousarray(found[i : i + n, :h, :w]) for i, n, h, w in ends]


def _both(rows: Array, columns: Array) -> Array:
    """Where both are true, (windows, rows, columns)."""
    found: Array = rows[:, :, None] & columns[:, None, :]
    return found


def _sum(rows: Array, columns: Array) -> Array:
    found: Array = rows[:, :, None] + columns[:, None, :]
    return found
