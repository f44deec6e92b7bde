"""Windows of the input run as patches: only what a window changes is computed again.

The sample itself is run once, and what patches are fetched from is kept. The results are those of
plain runs, up to rounding. Krypton has the idea: Nakandala et al., "Incremental and Approximate
Inference for Faster Occlusion-based Deep CNN Explanations", SIGMOD 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxplain.analysis.patches.axes import Span
from onnxplain.analysis.patches.plan import TILE, plan
from onnxplain.errors import ModelError
from onnxplain.execution.arrays import nearest
from onnxplain.execution.patch_tiles import Tile, tiles
from onnxplain.execution.points import Blend, Part, Points
from onnxplain.runtime.backend import CPU
from onnxplain.runtime.batching import BatchSize
from onnxplain.runtime.session import OutOfMemoryError, Session
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import MASK, Erase
from onnxplain.transforms.patches import BASELINE, KEEP, Patched, cache_name, patched

if TYPE_CHECKING:
    from onnxplain.execution.runner import Runner, Ways

WORTH = 0.78
"""The predicted share of the time of plain runs from which patches are not used."""

_FEWEST = 24
"""Plain runs that patches must save: to prove them, four are made, and the sample is run once."""

_OLDEST_OPSET = 10
"""Before it, Slice has no inputs."""

_PROVED = 4
"""Windows that are also run plainly, to prove patches."""

_TOLERANCE = 1e-4
_TOLERANCE_OF_ROUNDED = 1e-2
"""Largest difference from plain runs, of the largest value: of a model that rounds, as float16."""

_LEAST = 1e-3
"""Of the largest value of all: smaller values are compared with that, not with their own."""

_INDEX_BYTES = 2**26
"""Bytes of indices that are kept between samples."""

_MADE = 8 * TILE
"""Windows whose tiles are made at once: arrays of more take more memory, not less time."""

_DESCRIPTION = "only what a window changes"
_DIFFERENT = "whole, as patches differed from plain runs"
_FAILED = "whole, as patches could not be run"
_TOO_LARGE = "whole, as memory ran out in patches"


class PatchRuns:
    """A model in patches, for samples and windows of one shape.

    `region` has the windows, and the whole input after them. `refused` says why they are not used,
    empty if they give the results of plain runs; it is None before the first sample.
    """

    def __init__(self, patched: Patched) -> None:
        """Run `patched`."""
        self.patched = patched
        self.region = patched.picture.region
        self.refused: str | None = None
        picture = patched.picture
        self._name = cache_name(picture.name)
        self._order = picture.layout.order
        self._spread = [
            n if axis in self._order[1:3] else 1 for axis, n in enumerate(picture.shape)
        ]
        self._kept: dict[tuple[int, int], Tile] = {}
        self._room = _INDEX_BYTES

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.region.rows.start) - 1

    def rows(self, x: Array) -> Array:
        """A sample, (1, ...), as rows."""
        places = int(np.prod(self.region.places))
        return np.ascontiguousarray(x.transpose(self._order)).reshape(places, -1)

    def caches(self, session: Session, x: Array, sides: Mapping[str, Array]) -> dict[str, Array]:
        """What patches are fetched from, by input name; `sides` are the model's other inputs.

        It is computed by the same graph, in one run for a window as large as the sample.
        """
        rows, kept = self.rows(x), self.patched.kept
        (whole,) = tiles(self.patched, np.array([self.count]), 1)
        empty = {name: self.patched.caches[name] for name in kept}
        fed = {self._name: rows, BASELINE: rows, KEEP: np.array([np.iinfo(np.int64).max]), **sides}
        fed |= {name: np.zeros((0, patch.width), patch.dtype) for name, patch in empty.items()}
        found = session.run({**fed, **whole.indices}, list(kept.values())) if kept else []
        return {self._name: rows, **dict(zip(kept, found, strict=True))}

    def feeds(self, made: Tile, caches: Mapping[str, Array], filled: Array) -> dict[str, Array]:
        """The feeds of a tile; `filled` are the rows of the sample that windows are filled with."""
        cached = {name: caches[name][band] for name, band in made.bands.items()}
        baseline = filled[made.bands[self._name]]
        return {**cached, **made.indices, BASELINE: baseline, KEEP: np.zeros(1, np.int64)}

    def tile(self, which: slice) -> Tile:
        """The tile of some windows; those that are asked for first are kept."""
        if (which.start, which.stop) in self._kept:
            return self._kept[which.start, which.stop]
        each = which.stop - which.start
        windows = np.arange(which.start, self.count)[: max(1, _MADE // each) * each]
        made = tiles(self.patched, windows, each)
        for place, one in enumerate(made):
            if one.byte_count > self._room:
                break
            start = which.start + place * each
            self._kept[start, min(start + each, self.count)] = one
            self._room -= one.byte_count
        return made[0]

    def filled(self, which: Any) -> Array:
        """Whether each pixel is in each window, (windows, ...): 1 along axes but the windows'."""
        along = []
        for span, size in zip(self.region[:2], self.region.places, strict=True):
            at, (start, stop) = np.arange(size), (ends[which][:, None] for ends in span)
            along.append((at >= start) & (at < stop))
        found: Array = along[0][:, :, None] & along[1][:, None]
        return found.reshape(-1, *self._spread[1:])


def perturbed(
    runner: Runner, part: Part, x: FloatArray, change: Points, outputs: Sequence[str], ways: Ways
) -> Iterator[tuple[slice, list[Array]]] | str:
    """As `Runner.perturbed`, in patches; where they are not used, what is to be said of that."""
    tensor, *masks = outputs
    if not isinstance(change, Blend):
        return ""
    windows = _windows(change)
    fits = part.exact is None and part.spec.name == runner.spec.name and masks in ([], [MASK])
    fits = fits and runner.backend.provider == CPU and part.model.opset >= _OLDEST_OPSET
    if windows is None or not fits or change.count < _FEWEST:
        return ""
    ends = tuple(end.tobytes() for span in windows.values() for end in span)
    shapes = tuple(sorted((name, value.shape) for name, value in runner.others.items()))
    key = (part.model, x.shape, tensor, ends, shapes)
    runs = runner.patch_runs.get(key, lambda: _made(part, x, windows, tensor))
    if runs is None:
        return ""
    if runs.refused:
        return runs.refused
    at_once = runner.at_once(change.count)
    typed, filled = (
        nearest(np.broadcast_to(one, x.shape), part.spec.dtype) for one in (x, change.baseline)
    )
    covering, session_key = runs.rows(filled), (key, "patches")
    try:
        session = runner.session(session_key, lambda: runs.patched.of(part.model), at_once)
        caches = runs.caches(session, typed, part.sides(1))
        if runs.refused is None:
            which = np.linspace(0, runs.count - 1, _PROVED).astype(np.int64)
            (proof,) = tiles(runs.patched, which, _PROVED)
            fed = {**runs.feeds(proof, caches, covering), **part.sides(_PROVED)}
            (found,) = session.run(fed, [tensor])
            covered = [np.where(one[None], filled, typed) for one in runs.filled(which)]
            runs.refused = "" if _agrees(runner, found, covered, tensor) else _DIFFERENT
    except ModelError:
        runs.refused = _FAILED
    if runs.refused:
        return runs.refused

    def feeds(which: slice, size: int) -> Mapping[str, object]:
        return {**runs.feeds(runs.tile(which), caches, covering), **part.sides(size)}

    def seen(which: slice) -> list[Array]:
        return [1 - runs.filled(which).astype(np.float32) for _ in masks]

    size = BatchSize(min(TILE, runner.batch_size or TILE), at_once, _DESCRIPTION)
    batches = runner.in_batches(session, [tensor], feeds, change.count, size, None, ways)

    def found_or_whole() -> Iterator[tuple[slice, list[Array]]]:
        done = 0
        try:
            for which, values in batches:
                done = which.stop
                yield which, [*values, *seen(which)]
            return
        except OutOfMemoryError:
            runs.refused = _TOO_LARGE
            runner.close(session_key, at_once)
        rest = replace(change, feeds=change.feeds.after(done))
        for which, values in runner.whole(part, x, rest, outputs, ways, runs.refused):
            yield slice(which.start + done, which.stop + done), values

    return found_or_whole()


def _windows(change: Blend) -> dict[int, Span] | None:
    """The windows by axis, in whole pixels, if the change fills windows of rows and columns."""
    if not isinstance(change.mask, Erase) or len(change.mask.axes) != 2:
        return None
    fed = change.feeds.make(slice(0, change.count))
    pixels = {name: values.reshape(-1).astype(np.int64) for name, values in fed.items()}
    return {
        axis: Span(pixels[f"start_{axis}"], pixels[f"stop_{axis}"]) for axis in change.mask.axes
    }


def _made(part: Part, x: FloatArray, windows: Mapping[int, Span], tensor: str) -> PatchRuns | None:
    """The model in patches; None if they are predicted not to be worth it."""
    inputs = {name: value.shape for name, value in part.sides(1).items()}
    chosen = plan(
        part.model, part.spec.name, {**inputs, part.spec.name: x.shape}, windows, [tensor]
    )
    count = len(chosen.picture.region.rows.start) - 1
    saved = count * (1 - chosen.predicted)
    if not chosen.steps or chosen.predicted > WORTH or saved < _FEWEST:
        return None
    return PatchRuns(patched(part.model, chosen, [tensor]))


def _agrees(runner: Runner, found: Array, covered: Sequence[Array], tensor: str) -> bool:
    """Whether results of patches are those of plain runs of `covered` samples."""
    plain = np.concatenate([runner.forward(one, [tensor])[0] for one in covered])
    return _close(found, plain, _TOLERANCE_OF_ROUNDED if runner.rounds else _TOLERANCE)


def _close(found: Array, expected: Array, tolerance: float) -> bool:
    """Whether no value differs by more than the tolerance, of the largest one of its kind.

    In an answer of several axes, as that of a detector, the shortest one holds kinds of values.
    """
    if found.shape != expected.shape or not np.isfinite(expected).all():
        return False
    wide = np.abs(expected.astype(np.float64))
    kinds = min(range(1, wide.ndim), key=lambda axis: wide.shape[axis]) if wide.ndim > 2 else None
    scale = wide.max(tuple(axis for axis in range(wide.ndim) if axis != kinds), keepdims=True)
    scale = np.maximum(scale, _LEAST * wide.max(initial=0))
    return bool((np.abs(found.astype(np.float64) - expected) <= tolerance * scale).all())
