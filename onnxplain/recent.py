"""A cache that keeps what was asked for last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """Things made once for each key, of which no more than `size` are kept.

    Threads may share it. Where two want what is not there yet, both make it.
    """

    def __init__(self, size: int) -> None:
        """Start with nothing made."""
        self._size = size
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What is kept for a key, made where nothing is."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            # Room comes first: what is made may be as large as all that is kept.
            while len(self._kept) >= self._size:
                self._kept.popitem(last=False)
        made = make()
        with self._lock:
            return self._kept.setdefault(key, made)

    def find(self, wanted: Callable[[Hashable, Kept], bool]) -> Kept | None:
        """The first thing kept that is wanted; None where there is none."""
        with self._lock:
            return next((one for key, one in self._kept.items() if wanted(key, one)), None)
