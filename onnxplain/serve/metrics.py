"""Counts and times of requests in Prometheus' text format."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What happened since the start. It may be used by several threads.

    Attributes:
        waiting: gives the number of instances in the queue.
        in_hand: gives the number of requests that are not answered yet.
    """

    def __init__(self) -> None:
        self.waiting: Callable[[], int] = lambda: 0
        self.in_hand: Callable[[], int] = lambda: 0
        self._lock = threading.Lock()
        self._requests: Counter[Labels] = Counter()
        self._seconds: dict[Labels, _Histogram] = {}
        self._batches: dict[Labels, _Histogram] = {}

    def note_request(self, route: str, verb: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        named = ("route", route), ("method", verb)
        with self._lock:
            self._requests[*named, ("status", str(status))] += 1
            self._seconds.setdefault(named, _Histogram(_SECONDS)).note(seconds)

    def note_batch(self, kind: str, size: int) -> None:
        """Count a call of the model for `size` instances."""
        with self._lock:
            self._batches.setdefault((("call", kind),), _Histogram(_SIZES)).note(size)

    def text(self) -> str:
        """All metrics."""
        with self._lock:
            lines = [
                *_head("requests_total", "counter", "Requests that were answered."),
                *(_line("requests_total", own, n) for own, n in sorted(self._requests.items())),
                *_head(
                    "request_duration_seconds", "histogram", "Seconds from a request to its answer."
                ),
                *_histograms("request_duration_seconds", self._seconds),
                *_head("batch_size", "histogram", "Instances in one call of the model."),
                *_histograms("batch_size", self._batches),
            ]
        lines += [
            *_head("queue_length", "gauge", "Instances that wait."),
            _line("queue_length", (), self.waiting()),
            *_head("requests_in_hand", "gauge", "Requests that are not answered yet."),
            _line("requests_in_hand", (), self.in_hand()),
        ]
        return "\n".join(lines) + "\n"


class _Histogram:
    """Numbers of values up to each of some bounds, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, math.inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def note(self, value: float) -> None:
        self._counts[next(i for i, bound in enumerate(self._bounds) if value <= bound)] += 1
        self._sum += value

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        for bound, count in zip(self._bounds, accumulate(self._counts), strict=True):
            upper = "+Inf" if bound == math.inf else f"{bound:g}"
            yield _line(f"{name}_bucket", (*labels, ("le", upper)), count)
        yield _line(f"{name}_sum", labels, self._sum)
        yield _line(f"{name}_count", labels, sum(self._counts))


def _histograms(name: str, found: Mapping[Labels, _Histogram]) -> Iterator[str]:
    for labels, histogram in sorted(found.items()):
        yield from histogram.lines(name, labels)


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP onnxplain_{name} {text}", f"# TYPE onnxplain_{name} {kind}"


def _line(name: str, labels: Labels, value: float) -> str:
    own = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"onnxplain_{name}{f'{{{own}}}' if own else ''} {value:.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
