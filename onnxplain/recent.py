"""A cache that keeps what was asked for last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """Things made once for each key, of which no more than `size` are kept."""

    def __init__(self, size: int) -> None:
        """Start with nothing made."""
        self._size = size
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What is kept for a key, made where nothing is."""
        if (kept := self._kept.pop(key, None)) is None:
            # Room comes first: what is made may be as large as all that is kept.
            while len(self._kept) >= self._size:
                self._kept.popitem(last=False)
            kept = make()
        self._kept[key] = kept
        return kept

    def find(self, wanted: Callable[[Hashable, Kept], bool]) -> Kept | None:
        """The first thing kept that is wanted; None where there is none."""
        return next((one for key, one in self._kept.items() if wanted(key, one)), None)
