"""A cache of the objects that were used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from onnxplain.forks import per_process

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """A cache that keeps at most `size` objects, one for each key.

    The object that was not used for the longest time is dropped first. Threads may share the
    cache. If two threads need the same missing object, both make it, and one of the two is kept.
    """

    def __init__(self, size: int) -> None:
        """Start empty; `size` is the largest number of objects to keep."""
        self._size = size
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()

    @per_process
    def _lock(self) -> threading.Lock:
        """The lock of this process: another thread may have held that of the parent."""
        return threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The object for a key; `make` makes it if the cache does not have it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            # Before `make`, because the new object can need as much memory as all that are kept.
            while len(self._kept) >= self._size:
                self._kept.popitem(last=False)
        made = make()
        with self._lock:
            return self._kept.setdefault(key, made)

    def drop(self, key: Hashable) -> None:
        """Keep the object for a key no longer, if there is one."""
        with self._lock:
            self._kept.pop(key, None)

    def find(self, wanted: Callable[[Hashable, Kept], bool]) -> Kept | None:
        """The first object for which `wanted(key, object)` is true; None if there is none."""
        with self._lock:
            return next((one for key, one in self._kept.items() if wanted(key, one)), None)
