"""Where the time goes when many pictures are explained."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

_KINDS = "read", "model", "map", "save"


class Spent:
    """Seconds of work by its kind; work on several threads at once is added up.

    The kinds are "read" (reading, decoding and preparing an input), "model", "map" (from the values
    to the heatmap) and "save".
    """

    def __init__(self) -> None:
        # A sum for each thread and no lock, which a forked process could find locked for ever.
        self._sums: list[dict[str, float]] = []
        self._own = threading.local()

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Count the time of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            own = self._of_thread()
            own[kind] = own.get(kind, 0.0) + time.perf_counter() - began

    def so_far(self) -> dict[str, float]:
        """The seconds of each kind of work so far, in the order of the work."""
        sums = list(self._sums)
        totals = {kind: sum(own.get(kind, 0.0) for own in sums) for kind in _KINDS}
        return {kind: seconds for kind, seconds in totals.items() if seconds}

    def _of_thread(self) -> dict[str, float]:
        if not hasattr(self._own, "sums"):
            self._own.sums = {}
            self._sums.append(self._own.sums)
        return cast(dict[str, float], self._own.sums)
