"""Windows of the input run as patches: only what a window changes is computed again.

The sample itself is run once, and what patches are fetched from is kept. The result is the same as
that of plain runs, up to rounding. See `analysis.patches` and `transforms.patches`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxplain.analysis.patches.axes import Span
from onnxplain.analysis.patches.plan import TILE, Region, plan
from onnxplain.execution.arrays import nearest
from onnxplain.execution.points import Blend, Part
from onnxplain.recent import Recent
from onnxplain.runtime.backend import CPU
from onnxplain.runtime.batching import BatchSize
from onnxplain.runtime.session import Session
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import MASK, Erase
from onnxplain.transforms.patches import BASELINE, KEEP, Index, Patched, patched

if TYPE_CHECKING:
    from onnxplain.execution.runner import Runner, Ways

WORTH = 0.85
"""The predicted share of the time of plain runs from which patches are not used."""

_FEWEST = 24
"""Plain runs that patches must save: proving them takes four, and the sample itself is run."""

_OLDEST_OPSET = 10
"""Before it, Slice has no inputs."""

_TOLERANCE = 1e-4
_TOLERANCE_OF_ROUNDED = 1e-2
"""Largest difference from plain runs, of the largest value: of a model that rounds, as float16."""

_PROVED = 4
"""Windows that are also run plainly, to prove patches."""

_LEAST = 1e-3
"""Values of a channel that are smaller, relative to the largest of all, are compared with that."""

_INDEX_BYTES = 2**26
"""Bytes of indices that are kept between samples."""


class _TileSize(BatchSize):
    """The number of windows in the next run."""

    @property
    def _samples(self) -> str:
        return f"{super()._samples}, only what a window changes"


class PatchRuns:
    """A model in patches, for samples and windows of one shape.

    `region` has the windows, and the whole input after them. `verdict` is None before a sample was
    run, then whether patches agree with plain runs.
    """

    def __init__(self, patched: Patched, region: Region) -> None:
        """Run `patched`, which was planned for the windows of `region`."""
        self.patched = patched
        self.region = region
        self.verdict: bool | None = None
        self._name, picture = next(
            (name, patch) for name, patch in patched.caches.items() if patch.region is region
        )
        self._order = picture.layout.order
        spatial = picture.layout.rows, picture.layout.columns
        sizes = enumerate(picture.shape)
        self._spread = [size if axis in spatial else 1 for axis, size in sizes][1:]
        tile = self.indices(np.arange(min(TILE, self.count)))
        size = sum(array.nbytes for array in tile.values())
        self._kept: Recent[Mapping[str, Array]] = Recent(max(1, _INDEX_BYTES // max(1, size)))

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.region.rows.start) - 1

    def rows(self, x: Array) -> Array:
        """A sample, (1, ...), as rows."""
        places = int(np.prod(self.region.places))
        return np.ascontiguousarray(x.transpose(self._order)).reshape(places, -1)

    def caches(self, session: Session, x: Array, others: Mapping[str, Array]) -> dict[str, Array]:
        """What patches are fetched from, and the feeds that do not change: one run of the sample."""
        name, rows = self._name, self.rows(x)
        empty = {
            n: np.zeros((0, patch.width), patch.dtype)
            for n, patch in self.patched.caches.items()
            if n != name
        }
        all_ = np.array([np.iinfo(np.int64).max])
        which = np.array([self.count])
        fed = {name: rows, BASELINE: rows, KEEP: all_, **empty, **others}
        fed.update(self.indices(which, cached=False))
        outputs = [self.patched.kept[n] for n in empty]
        found = session.run(fed, outputs) if outputs else []
        return {name: rows, **dict(zip(empty, found, strict=True))}

    def indices(self, which: Array, cached: bool = True) -> dict[str, Array]:
        """The index inputs for some of the windows."""
        return {
            name: _rows_of(index, which, cached, index.source.region is self.region)
            for name, index in self.patched.indices.items()
        }

    def indices_of(self, part: slice) -> Mapping[str, Array]:
        """The same for neighbors; they are kept."""
        key: Hashable = (part.start, part.stop)
        return self._kept.get(key, lambda: self.indices(np.arange(part.start, part.stop)))

    def filled(self, which: Any) -> Array:
        """Whether each pixel is in each window, (windows, ...): 1 along axes but the windows'."""
        along = []
        for span, size in zip(self.region[:2], self.region.places, strict=True):
            at, (start, stop) = np.arange(size), (ends[which][:, None] for ends in span)
            along.append((at >= start) & (at < stop))
        return _both(along).reshape(-1, *self._spread)


def _rows_of(index: Index, which: Array, cached: bool, is_picture: bool) -> Array:
    """The rows of a source that each position of a region is fetched from."""
    source, fills = index.source.region, index.fills
    inside, in_patch, wanted = [], [], []
    for axis, own, target, size in zip(
        index.maps, source[:2], index.region[:2], source.places, strict=True
    ):
        at = axis.positions(target.start[which], _size(target, which)).astype(np.int32)
        start = own.start[which].astype(np.int32)[:, None]
        stop = own.stop[which].astype(np.int32)[:, None]
        stop = stop if is_picture else start + np.int32(_size(own, which))
        inside.append((at >= 0) & (at < size))
        in_patch.append((at >= start) & (at < stop))
        wanted.append((at, at if is_picture else at - start))
    (rows, own_rows), (columns, own_columns) = wanted
    height, width = source.places
    here = np.int32(width) if is_picture else np.int32(_size(source.columns, which))
    each = 0 if is_picture else _size(source.rows, which) * _size(source.columns, which)
    first = fills + (height * width if cached or is_picture else 0)
    windows = np.arange(len(which), dtype=np.int32)[:, None] * np.int32(each)
    patches = (first + windows + own_rows * here)[:, :, None] + own_columns[:, None, :]
    known = (fills + rows * np.int32(width))[:, :, None] + columns[:, None, :]
    known = known if cached or is_picture else np.int32(index.slot)
    found = np.where(_both(in_patch), patches, known)
    return np.where(_both(inside), found, np.int32(index.slot)).astype(np.int32, copy=False)


def _both(along: Sequence[Array]) -> Array:
    found: Array = along[0][:, :, None] & along[1][:, None, :]
    return found


def _size(span: Span, which: Array) -> int:
    """The size of all patches of some windows: that of the largest."""
    return int((span.stop[which] - span.start[which]).max())


def perturbed(
    runner: Runner, part: Part, x: FloatArray, change: Blend, outputs: Sequence[str], ways: Ways
) -> Iterator[tuple[slice, list[Array]]] | None:
    """As `Runner.perturbed`, in patches; None if the model or the change is not fit for them."""
    tensor, *masks = outputs
    fits = isinstance(change.mask, Erase) and len(change.mask.axes) == 2 and masks in ([], [MASK])
    fits = fits and part.exact is None and part.spec.name == runner.spec.name
    fits = fits and runner.backend.provider == CPU and part.model.opset >= _OLDEST_OPSET
    if not fits or change.count < _FEWEST:
        return None
    windows = _windows(change)
    at = tuple(ends.tobytes() for span in windows.values() for ends in span)
    shapes = tuple(sorted((name, value.shape) for name, value in runner.others.items()))
    key = (part.model, x.shape, tensor, at, shapes)
    runs = runner.patch_runs.get(key, lambda: _made(runner, part, x, windows, tensor))
    if runs is None or runs.verdict is False:
        return None
    at_once = runner.at_once(change.count)
    session = runner.session((key, "patches"), lambda: runs.patched.model, at_once)
    typed, filled = (
        nearest(np.broadcast_to(one, x.shape), part.spec.dtype) for one in (x, change.baseline)
    )
    shared = {**runs.caches(session, typed, part.sides(1)), BASELINE: runs.rows(filled)}
    shared[KEEP] = np.zeros(1, np.int64)

    def feeds(which: slice, size: int) -> Mapping[str, object]:
        return {**shared, **part.sides(size), **runs.indices_of(which)}

    if runs.verdict is None:
        runs.verdict = _agrees(runner, runs, session, {**shared, **part.sides(_PROVED)}, typed, filled, tensor)
        if not runs.verdict:
            return None
    size = _TileSize(min(TILE, runner.batch_size or TILE), at_once)
    found = runner.in_batches(session, [tensor], feeds, change.count, size, None, ways)

    def seen(which: slice) -> list[Array]:
        return [1 - runs.filled(which).astype(np.float32) for _ in masks]

    return ((which, [*values, *seen(which)]) for which, values in found)


def _windows(change: Blend) -> dict[int, Span]:
    """The windows of a change by axis, in whole pixels."""
    fed = change.feeds.make(slice(0, change.count))
    assert isinstance(change.mask, Erase), "windows are erased"
    return {
        axis: Span(*(fed[f"{end}_{axis}"].reshape(-1).astype(np.int64) for end in ("start", "stop")))
        for axis in change.mask.axes
    }


def _made(
    runner: Runner, part: Part, x: FloatArray, windows: Mapping[int, Span], tensor: str
) -> PatchRuns | None:
    """The model in patches; None if they are not worth it."""
    inputs = {part.spec.name: x.shape, **{n: v.shape for n, v in runner.others_for(1).items()}}
    chosen = plan(part.model, part.spec.name, inputs, windows, [tensor])
    count = len(chosen.picture.region.rows.start) - 1
    saved = count * (1 - chosen.predicted)
    if not chosen.steps or chosen.predicted > WORTH or saved < _FEWEST:
        return None
    return PatchRuns(patched(part.model, chosen, [tensor]), chosen.picture.region)


def _agrees(
    runner: Runner,
    runs: PatchRuns,
    session: Session,
    shared: Mapping[str, object],
    x: Array,
    filled: Array,
    tensor: str,
) -> bool:
    """Whether patches of a few windows, from one corner to the other, agree with plain runs."""
    which = np.linspace(0, runs.count - 1, _PROVED).astype(np.int64)
    fed = {**shared, **runs.indices(which)}
    try:
        (found,) = session.run(fed, [tensor])
    except ModelError:
        return False
    inside = runs.filled(which)[:, None]
    covered = [np.where(one, filled, x) for one in inside]
    plain = [runner.forward(one, [tensor])[0] for one in covered]
    return _close(found, np.concatenate(plain), _TOLERANCE_OF_ROUNDED if runner.rounds else _TOLERANCE)


def _close(found: Array, expected: Array, tolerance: float) -> bool:
    """Whether no value differs by more than the tolerance, of the largest one in its channel."""
    if found.shape != expected.shape or not np.isfinite(expected).all():
        return False
    channels = min(range(1, expected.ndim), key=lambda axis: expected.shape[axis], default=0)
    rest = tuple(axis for axis in range(expected.ndim) if axis != channels or expected.ndim < 3)
    wide = expected.astype(np.float64)
    scale = np.abs(wide).max(rest, keepdims=True)
    scale = np.maximum(scale, _LEAST * np.abs(wide).max(initial=0))
    return bool((np.abs(found - wide) <= tolerance * scale).all())
