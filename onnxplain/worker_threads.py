"""Threads that all calls of a process share."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor


def worker_threads(count: int) -> ThreadPoolExecutor:
    """At most `count` threads of this process, which all callers with this number share.

    They are kept, as where memory has run out, CPython may wait for ever for a thread that it
    starts, or crash. Work for them must not wait for other work for them.
    """
    return _made(os.getpid(), count)


@functools.lru_cache(maxsize=32)
def _made(process: int, count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix=f"shared-{count}")
