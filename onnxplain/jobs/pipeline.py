"""Work on worker threads, in order and within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


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
