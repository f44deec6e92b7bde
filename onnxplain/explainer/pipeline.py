"""Work on worker threads, in order and within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
Ready = TypeVar("Ready")
Result = TypeVar("Result")


_WORKERS = 2
"""Threads before and after the model, which itself takes all cores."""

AHEAD = 8
"""Items that wait for the model, or for whoever takes the results."""


def in_order(
    call: Callable[[Item], Made], items: Iterable[Item], ahead: int = AHEAD
) -> Generator[Made]:
    """What `call` makes of each item, in order, made on worker threads.

    No more than `ahead` items are taken beyond the one that is waited for, so that memory does not
    grow with their number. An error of `call` is raised where its result would come, and what the
    threads have not begun by then is given up.
    """
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="onnxplain")
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one perhaps shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def pipeline(
    items: Iterable[Item],
    before: Callable[[Item], Ready],
    run: Callable[[Iterable[Ready]], Iterable[Result]],
    after: Callable[[Result], Made],
    ahead: int = AHEAD,
) -> Iterator[Made]:
    """What becomes of items: `before` and `after` work on threads, `run` in this one.

    No more than `ahead` of what `run` gives waits for those before it. One item alone needs no
    thread. An error of `items` is raised after all that became of those before it.
    """
    failed: list[Exception] = []
    first = list(islice(rest := _until_error(items, failed), 2))
    if len(first) < 2:
        yield from map(after, run(map(before, first)))
    else:
        with closing(in_order(before, chain(first, rest))) as ready:
            yield from in_order(after, run(ready), ahead)
    for error in failed:
        raise error


def _until_error(items: Iterable[Item], failed: list[Exception]) -> Iterator[Item]:
    try:
        yield from items
    except Exception as error:  # whatever a caller's own iterable raises
        failed.append(error)
