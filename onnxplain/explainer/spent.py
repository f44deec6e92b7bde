"""Where the time goes when many pictures are explained."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Spent:
    """Seconds of work by its kind; work on several threads at once is added up.

    The kinds are "read" (reading, decoding and preparing an input), "model", "map" (from the values
    to the heatmap) and "save".
    """

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Count the time of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            with self._lock:
                self._seconds[kind] += seconds  # type: ignore[assignment]

    def so_far(self) -> dict[str, float]:
        """The seconds of each kind of work so far."""
        with self._lock:
            return dict(self._seconds)
