"""The unit of comparison: the time of a plain forward of the model at its best batch size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

BATCH_SIZES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Plain:
    """A plain session, its input for one batch, and the batch size that is fastest."""

    session: Any
    feed: dict[str, NDArray[np.float32]]
    batch: int

    def seconds(self, count: int) -> float:
        """Wall time of `count` forwards."""
        began = time.perf_counter()
        for _ in range(-(-count // self.batch)):
            self.session.run(None, self.feed)
        whole = -(-count // self.batch) * self.batch
        return (time.perf_counter() - began) * count / whole


def plain_forwards(model: Path, sample: NDArray[np.float32], provider: str) -> Plain:
    """Open a plain session and find its best batch size, each size judged by its best of five."""
    session = ort.InferenceSession(model, providers=[provider])
    name = session.get_inputs()[0].name
    candidates = []
    for batch in BATCH_SIZES:
        plain = Plain(session, {name: np.repeat(sample, batch, axis=0)}, batch)
        plain.seconds(batch)
        cost = min(plain.seconds(batch) for _ in range(max(5, 32 // batch))) / batch
        candidates.append((cost, plain))
    return min(candidates, key=lambda pair: pair[0])[1]
