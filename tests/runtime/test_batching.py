"""How many samples a run has, on a simulated device with known speed and memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from tiny import Array

from onnxplain.runtime.batching import BatchSize, Fastest, in_batches
from onnxplain.runtime.session import OutOfMemoryError


class Device:
    """Doubles numbers; holds at most `memory` samples, and remembers what it ran."""

    def __init__(self, total: int, memory: int = 10**9) -> None:
        self.samples = np.arange(total)
        self.memory = memory
        self.tried: list[int] = []

    def run(self, part: slice) -> list[Array]:
        chosen = self.samples[part]
        self.tried.append(len(chosen))
        if len(chosen) > self.memory:
            raise OutOfMemoryError("the device is full")
        return [2 * chosen]


def work(device: Device, batch: BatchSize) -> Array:
    total = len(device.samples)
    parts = list(in_batches(device.run, total, batch))
    assert [part.start for part, _ in parts] == [0, *(part.stop for part, _ in parts[:-1])]
    return np.concatenate([results[0] for _, results in parts])


@pytest.mark.parametrize(
    ("size", "memory", "tried"),
    [
        (4, 99, [4, 4, 2]),
        (99, 99, [10]),
        (99, 3, [10, 5, 2, 2, 2, 2, 2]),
        (1, 99, [1] * 10),
        (8, 3, [8, 4, 2, 2, 2, 2, 2]),
        (7, 1, [7, 3, 1, *[1] * 9]),
    ],
)
def test_a_fixed_size_is_kept_and_halved_when_memory_runs_out(
    size: int, memory: int, tried: list[int]
) -> None:
    device = Device(10, memory)
    np.testing.assert_array_equal(work(device, BatchSize(size)), 2 * np.arange(10))
    assert device.tried == tried


@pytest.mark.parametrize("batch", [BatchSize(8), Fastest(8)])
def test_not_even_one_sample_fits(batch: BatchSize) -> None:
    device = Device(10, memory=0)
    with pytest.raises(OutOfMemoryError, match="full"):
        work(device, batch)
    assert device.tried[-1] == 1


def sizes(batch: Fastest, cost: Callable[[int], float], runs: int) -> list[int]:
    """The sizes that are run, if a sample of a batch of n takes `cost(n)` seconds."""
    seen = []
    for _ in range(runs):
        seen.append(batch.size)
        batch.finished(batch.size, batch.size * cost(batch.size))
    return seen


SPEEDS = {
    "larger is always faster": (lambda n: 1 / n, [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 16, 16]),
    "the same": (lambda n: 1, [1, 1, 2, 2, 4, 4, 1, 1, 1, 1, 1, 1]),
    "best at 2": (lambda n: abs(n - 2) + 1, [1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 2, 2]),
    # 2 is slower, but that is no reason to stop: 4 is tried, and is faster.
    "a bump": (lambda n: {1: 1, 2: 1.1, 4: 0.5}.get(n, 1), [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 4, 4]),
}


@pytest.mark.parametrize("name", SPEEDS)
def test_the_fastest_size_is_found_while_working(name: str) -> None:
    cost, expected = SPEEDS[name]
    assert sizes(Fastest(16), cost, 12) == expected


def test_the_first_run_of_a_size_does_not_count() -> None:
    batch = Fastest(4)
    for seconds in (100, 1, 100, 1, 100, 1):  # 1, 1/2 and 1/4 a sample once warm
        batch.finished(batch.size, seconds)
    assert batch.size == 4


def test_the_last_part_does_not_count() -> None:
    batch = Fastest(64)
    sizes(batch, lambda n: 1 / n, 4)
    assert batch.size == 4
    for _ in range(9):
        batch.finished(3, 1e-9)
    assert batch.size == 4


def test_memory_ends_the_search() -> None:
    device = Device(100, memory=5)
    batch = Fastest(64)
    np.testing.assert_array_equal(work(device, batch), 2 * np.arange(100))
    assert max(n for n in device.tried if n <= 5) <= 4
    assert sum(n > 5 for n in device.tried) <= 1


def test_progress_is_told_before_and_after_each_run() -> None:
    reported: list[tuple[int, int]] = []
    device = Device(5)
    list(
        in_batches(device.run, 5, BatchSize(2), lambda done, total: reported.append((done, total)))
    )
    assert reported == [(0, 5), (2, 5), (4, 5), (5, 5)]


def test_large_results_keep_batches_small() -> None:
    """Results of 100 MiB for each sample: two fit in the quarter of a GiB that a batch may have."""

    def run(part: slice) -> list[Array]:
        sizes.append(part.stop - part.start)
        return [np.broadcast_to(np.float32(0), (sizes[-1], 25 * 2**20))]

    sizes: list[int] = []
    batch = Fastest(64)
    for _ in in_batches(run, 40, batch):
        batch._best = (float("inf"), batch.size)  # every size is the fastest so far
    assert max(sizes) == 2
    assert sum(sizes) == 40


@pytest.mark.parametrize("batch", [BatchSize(1, 3), BatchSize(4, 2), Fastest(8, 4)])
def test_runs_at_once_give_the_same_in_order(batch: BatchSize) -> None:
    device = Device(50)
    np.testing.assert_array_equal(work(device, batch), 2 * np.arange(50))
    assert sum(device.tried) == 50


def test_runs_go_on_at_once() -> None:
    """Each of three waits for the two others."""
    barrier = threading.Barrier(3, timeout=20)

    def run(part: slice) -> list[Array]:
        barrier.wait()
        return [np.arange(part.start, part.stop)]

    found = [results[0] for _, results in in_batches(run, 6, BatchSize(1, 3))]
    np.testing.assert_array_equal(np.concatenate(found), np.arange(6))


def test_little_memory_ends_runs_at_once_before_batches_shrink() -> None:
    """Memory for four samples in all threads: two runs of two at the same time, never four."""
    lock, running, refused = threading.Lock(), [0], [0]

    def run(part: slice) -> list[Array]:
        size = part.stop - part.start
        with lock:
            running[0] += size
            full = running[0] > 4
            refused[0] += full
        try:
            time.sleep(0.01)
            if full:
                raise OutOfMemoryError("the device is full")
            return [np.arange(part.start, part.stop)]
        finally:
            with lock:
                running[0] -= size

    batch = BatchSize(2, 8)
    found = [results[0] for _, results in in_batches(run, 40, batch)]
    np.testing.assert_array_equal(np.concatenate(found), np.arange(40))
    assert refused[0] > 0
    assert (batch.at_once, batch.size) == (2, 2)


def test_an_error_of_a_run_comes_where_its_result_would() -> None:
    def run(part: slice) -> list[Array]:
        if part.start == 5:
            raise ValueError("the sixth")
        return [np.arange(part.start, part.stop)]

    found = []
    with pytest.raises(ValueError, match="the sixth"):
        for part, _ in in_batches(run, 20, BatchSize(1, 4)):
            found.append(part.start)
    assert found == [0, 1, 2, 3, 4]


def test_large_results_of_runs_at_once_are_not_piled_up() -> None:
    """Results of 100 MiB each: never more of them wait than runs are active."""
    begun = []

    def run(part: slice) -> list[Array]:
        begun.append(part.start)
        return [np.broadcast_to(np.float32(0), (1, 25 * 2**20))]

    for part, _ in in_batches(run, 12, BatchSize(1, 2)):
        time.sleep(0.01)
        assert len(begun) <= part.start + 1 + (4 if part.start == 0 else 2)
