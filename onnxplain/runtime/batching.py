"""Cutting many samples into batches: how large, and what to do when memory runs out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from onnxplain.runtime.session import OutOfMemoryError
from onnxplain.tensors import Array

Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Called with the samples that are done and their total: before the first run, and after each."""


def silent(done: int, total: int) -> None:
    """Report nothing."""


class BatchSize:
    """How many samples the next run should hold: a given number, halved when memory runs out.

    `at_once` is how many runs may go on at the same time; when memory runs out, these are halved
    first.
    """

    def __init__(self, size: int, at_once: int = 1) -> None:
        self.size = size
        self.at_once = at_once

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

    Where several runs may go on at the same time, `run` is called on worker threads, and some runs
    ahead of the one whose results are taken. A batch that does not fit in memory is tried again
    with fewer runs at the same time, then with half of the samples.

    Raises:
        OutOfMemoryError: not even one sample fits in memory.
    """

    def timed(part: slice) -> tuple[list[Array], float]:
        began = time.perf_counter()
        results = run(part)
        return results, time.perf_counter() - began

    start, bytes_of_one, threads = 0, 1, batch.at_once
    waiting: deque[tuple[slice, Future[tuple[list[Array], float]]]] = deque()
    pool = ThreadPoolExecutor(threads)
    progress(start, total)
    try:
        while start < total or waiting:
            most = _most_waiting(batch, threads, bytes_of_one)
            while start < total and len(waiting) < most:
                part = slice(start, min(start + batch.size, total))
                submit = pool.submit if batch.at_once > 1 else _finished
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
        pool.shutdown(cancel_futures=True)


def _most_waiting(batch: BatchSize, threads: int, bytes_of_one: int) -> int:
    """How many runs are begun before the results of the first of them are taken.

    Threads go on working while results are taken, unless memory has already run out.
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
    """What `pool.submit` gives, of a call in this thread."""
    future: Future[Result] = Future()
    try:
        future.set_result(call(part))
    except Exception as error:
        future.set_exception(error)
    return future
