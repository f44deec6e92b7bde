"""Split many samples into batches: choose the size, and reduce it when memory runs out."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import TypeVar

from onnxplain.runtime.session import OutOfMemoryError
from onnxplain.tensors import Array
from onnxplain.worker_threads import worker_threads

Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Called with the numbers of finished samples and of all: before the first and after each run."""


def silent(done: int, total: int) -> None:
    """Report nothing."""


class BatchSize:
    """The number of samples in the next run: a given number, halved when memory runs out.

    `at_once` is the number of parallel runs; when memory runs out, it is halved first. `note` says
    what else is special about the runs.
    """

    def __init__(self, size: int, at_once: int = 1, note: str = "") -> None:
        self.size = size
        self.at_once = at_once
        self.note = note

    @property
    def description(self) -> str:
        """How many samples a run has, and how many runs are parallel, in words."""
        parallel = f", up to {self.at_once} runs at the same time" if self.at_once > 1 else ""
        return f"{self._samples}{parallel}{self.note and ', ' + self.note}"

    @property
    def _samples(self) -> str:
        return "one sample in each run" if self.size == 1 else f"in batches of {self.size}"

    def finished(self, samples: int, seconds: float) -> None:
        """Learn the time of a successful run."""

    def shrink(self) -> None:
        """Learn that a run of `size` samples did not fit in memory."""
        self.size = max(1, self.size // 2)

    def answered(self, size: int) -> None:
        """Learn how many bytes the results of a run have per sample."""


_LARGEST_RESULT = 2**28
"""Bytes of results in memory: maps of a thousand classes could fill it before a batch is slow."""


class Fastest(BatchSize):
    """Doubles the batch size while this reduces the time per sample, then keeps the best size.

    No extra runs are made: only the requested runs are measured. The first run of a size is slower,
    because the session allocates memory, so only the second run counts.
    """

    def __init__(self, limit: int, at_once: int = 1) -> None:
        super().__init__(1, at_once)
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

    @property
    def _samples(self) -> str:
        return super()._samples if self._limit == 1 else "in batches of the fastest size"

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
    """Run samples 0 to `total` - 1 in batches, and yield the slice and the results of each batch.

    If `batch.at_once` is above 1, `run` is called on worker threads, and later batches run while
    the caller uses earlier results. If a batch does not fit in memory, it is run again with fewer
    parallel runs, then with half of the samples.

    Raises:
        OutOfMemoryError: a single sample does not fit in memory.
    """

    def timed(part: slice) -> tuple[list[Array], float]:
        began = time.perf_counter()
        results = run(part)
        return results, time.perf_counter() - began

    start, bytes_of_one, threads = 0, 1, batch.at_once
    waiting: deque[tuple[slice, Future[tuple[list[Array], float]]]] = deque()
    progress(start, total)
    process = os.getpid()  # a forked one has none of the threads
    try:
        while start < total or waiting:
            most = _most_waiting(batch, threads, bytes_of_one)
            while start < total and len(waiting) < most:
                part = slice(start, min(start + batch.size, total))
                submit = worker_threads(threads).submit if batch.at_once > 1 else _finished
                waiting.append((part, submit(timed, part)))
                start = part.stop
            part, future = waiting.popleft()
            size = part.stop - part.start
            try:
                results, seconds = future.result()
            except OutOfMemoryError:
                if size == batch.at_once == 1:
                    raise
                wait([later for _, later in waiting])
                waiting.clear()
                start = part.start
                _use_less(batch, size)
                continue
            bytes_of_one = sum(result.nbytes for result in results) // size
            batch.finished(size, seconds)
            batch.answered(bytes_of_one)
            progress(part.stop, total)
            yield part, results
    finally:
        if os.getpid() == process:
            wait([later for _, later in waiting if not later.cancel()])


def _most_waiting(batch: BatchSize, threads: int, bytes_of_one: int) -> int:
    """The number of runs to start before the results of the first one are returned.

    It is larger than the number of threads, so that threads are busy while the caller uses the
    results, unless memory has run out before.
    """
    if batch.at_once < threads or threads == 1:
        return batch.at_once
    room = _LARGEST_RESULT // max(1, bytes_of_one * batch.size)
    return max(threads, min(2 * threads, room))


def _use_less(batch: BatchSize, size: int) -> None:
    """Learn that runs of `size` samples did not fit in memory."""
    if batch.at_once > 1:
        batch.at_once //= 2
    else:
        batch.size = size
        batch.shrink()


def _finished(call: Callable[[slice], Result], part: slice) -> Future[Result]:
    """Do as `pool.submit`, but call in this thread."""
    future: Future[Result] = Future()
    try:
        future.set_result(call(part))
    except Exception as error:
        future.set_exception(error)
    return future
