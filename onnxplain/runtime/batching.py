"""Cutting many samples into batches: how large, and what to do when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from onnxplain.runtime.session import OutOfMemoryError
from onnxplain.tensors import Array

Progress = Callable[[int, int], None]
"""Called with the samples that are done and their total: before the first run, and after each."""


def silent(done: int, total: int) -> None:
    """Report nothing."""


class BatchSize:
    """How many samples the next run should hold: a given number, halved when memory runs out."""

    def __init__(self, size: int) -> None:
        self.size = size

    def finished(self, samples: int, seconds: float) -> None:
        """Learn from a run that went well."""

    def shrink(self) -> None:
        """Learn that a run of `size` samples did not fit in memory."""
        self.size = max(1, self.size // 2)

    def answered(self, size: int) -> None:
        """Learn how many bytes a run gives for each sample."""


_LARGEST_RESULT = 2**28
"""Bytes. Maps of a thousand classes would fill the memory before a batch is slow."""


class Fastest(BatchSize):
    """Doubles the batch while that makes a sample cheaper, then stays with the best size seen.

    Nothing is run for the sake of measuring: every batch does work that is wanted anyway. The first
    run of a size pays for the session's allocations, so a size is judged by its second.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(1)
        self._limit = limit
        self._best = (float("inf"), 1)
        self._runs_of_size = 0
        self._settled = limit <= 1

    def finished(self, samples: int, seconds: float) -> None:
        """See `BatchSize`."""
        if self._settled or samples != self.size:
            return
        self._runs_of_size += 1
        if self._runs_of_size < 2:
            return
        self._runs_of_size = 0
        cost = seconds / samples
        cheaper = cost < 0.97 * self._best[0]
        if cheaper:
            self._best = (cost, self.size)
        if self.size >= self._limit or (not cheaper and self.size >= 4 * self._best[1]):
            self.size, self._settled = self._best[1], True
        else:
            self.size = min(2 * self.size, self._limit)

    def shrink(self) -> None:
        """See `BatchSize`."""
        self._limit = max(1, self.size // 2)
        self.size = min(self._best[1], self._limit)
        self._settled = True

    def answered(self, size: int) -> None:
        """See `BatchSize`."""
        self._limit = min(self._limit, max(1, _LARGEST_RESULT // max(1, size)))
        self.size = min(self.size, self._limit)


def in_batches(
    run: Callable[[slice], list[Array]],
    total: int,
    batch: BatchSize,
    progress: Progress = silent,
) -> Iterator[tuple[slice, list[Array]]]:
    """Run samples 0 to `total`, a batch at a time, and yield each batch's place and results.

    A batch that does not fit in memory is halved and tried again.

    Raises:
        OutOfMemoryError: not even one sample fits in memory.
    """
    start = 0
    progress(start, total)
    while start < total:
        size = min(batch.size, total - start)
        part = slice(start, start + size)
        began = time.perf_counter()
        try:
            results = run(part)
        except OutOfMemoryError:
            if size == 1:
                raise
            batch.size = size
            batch.shrink()
            continue
        batch.finished(size, time.perf_counter() - began)
        batch.answered(sum(result.nbytes for result in results) // size)
        progress(part.stop, total)
        yield part, results
        start = part.stop
