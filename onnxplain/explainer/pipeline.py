"""Work on worker threads, in order and within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
Ready = TypeVar("Ready")
Computed = TypeVar("Computed")


@contextmanager
def threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Worker threads; what they have not begun when the block ends is given up."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="onnxplain")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor, call: Callable[[Item], Made], items: Iterable[Item], ahead: int
) -> Iterator[Made]:
    """What `call` makes of each item, in order, made on worker threads.

    No more than `ahead` items are taken beyond the one that is waited for, so that memory does not
    grow with their number. An error of `call` is raised where its result would come.
    """
    waiting: deque[Future[Made]] = deque()
    rest = iter(items)
    try:
        for item in rest:
            waiting.append(pool.submit(call, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one perhaps shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def pipeline(
    items: Iterable[Item],
    before: Callable[[Item], Ready],
    run: Callable[[Iterable[Ready]], Iterable[Computed]],
    after: Callable[[Computed], Made],
) -> Iterator[Made]:
    """What becomes of items: `before` and `after` work on threads, `run` in this one.

    One item alone needs no thread.
    """
    first = list(islice(rest := iter(items), 2))
    if len(first) < 2:
        for found in run(map(before, first)):
            yield after(found)
        return
    with threads(_WORKERS) as readers, threads(_WORKERS) as writers:
        ready = in_order(readers, before, chain(first, rest), _AHEAD)
        yield from in_order(writers, after, run(ready), _AHEAD)


_WORKERS = 2
"""Threads before and after the model, which itself takes all cores."""

_AHEAD = 8
"""Items that wait for the model, or for whoever takes the results."""
