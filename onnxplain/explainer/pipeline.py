"""Work on worker threads, with results in order and a limited number of items in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain, islice
from typing import TypeVar

from onnxplain.errors import ProcessError

Item = TypeVar("Item")
Made = TypeVar("Made")
Ready = TypeVar("Ready")
Result = TypeVar("Result")


WORKERS = 2
"""Threads for the work before and after the model; few, as the model itself uses all cores."""

AHEAD = 8
"""Number of items that wait for the model, or for the caller."""


def in_order(
    call: Callable[[Item], Made],
    items: Iterable[Item],
    ahead: int = AHEAD,
    workers: int = WORKERS,
) -> Generator[Made]:
    """Yield `call(item)` for each item, in order, computed on so many worker threads.

    At most `ahead` items are taken after the next one to be returned, so that memory does not grow
    with their number. An error of `call` is raised in place of its result; work that has not
    started by then is canceled.

    Raises:
        ProcessError: this process was forked from the one in which the first item was asked for.
    """
    process = os.getpid()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="onnxplain")
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
                _check_same(process)
        while waiting:
            yield waiting.popleft().result()
            _check_same(process)
    finally:
        # In a forked process, locks of the pool may be held by threads that are not there.
        if os.getpid() == process:
            pool.shutdown(wait=True, cancel_futures=True)


def _check_same(process: int) -> None:
    if os.getpid() != process:
        raise ProcessError(
            "An iteration cannot go on in a process that was forked after it began, because its "
            "threads are in the parent: begin it in that process."
        )


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`; the last list may be shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def pipeline(
    items: Iterable[Item],
    before: Callable[[Item], Ready],
    run: Callable[[Iterable[Ready]], Iterable[Result]],
    after: Callable[[Result], Made],
    ahead: int = AHEAD,
    workers: int = WORKERS,
) -> Generator[Made]:
    """Yield the results of `before`, `run` and `after`, applied to the items in this order.

    `before` and `after` run on so many worker threads each, `run` on the calling thread. At most
    `ahead` results of `run` wait. A single item uses no threads. An error of the iterable `items`
    is raised after the results of all items before it.
    """
    failed: list[Exception] = []
    first = list(islice(rest := _until_error(items, failed), 2))
    if len(first) < 2:
        yield from map(after, run(map(before, first)))
    else:
        early = max(AHEAD, 2 * workers)
        with closing(in_order(before, chain(first, rest), early, workers)) as ready:
            yield from in_order(after, run(ready), ahead, workers)
    for error in failed:
        raise error


def _until_error(items: Iterable[Item], failed: list[Exception]) -> Iterator[Item]:
    try:
        yield from items
    except Exception as error:  # whatever a caller's own iterable raises
        failed.append(error)
