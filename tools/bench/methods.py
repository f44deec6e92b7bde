"""Each method's seconds, compared with as many plain forwards in the same minute."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxplain
from tools.bench.forwards import Plain, plain_forwards


@dataclass(frozen=True)
class Case:
    """A method with its options, and how many forwards of the whole model it needs at least."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Method and options, as on the command line."""
        return " ".join([self.method, *(f"--{k} {v}" for k, v in self.options.items())])


CASES = (
    Case("scorecam"),
    Case("occlusion"),
    Case("rise", {"samples": 1000}),
    Case("ablationcam"),
    Case("reciprocam"),
    Case("cam"),
    Case("eigencam"),
    Case("feature_maps"),
)


@dataclass(frozen=True)
class Measured:
    """Median over the rounds; `ratio` compares each round with the plain forwards around it."""

    title: str
    forwards: int
    seconds: float
    ratio: float


def measure(model: Path, picture: Path, provider: str, rounds: int) -> Iterator[Measured]:
    """Measure every case on one model and picture, after one unmeasured round that warms up."""
    explainer = onnxplain.Explainer(model, provider=provider)
    sample, _ = explainer.preprocess.apply(onnxplain.read_picture(picture))
    explainer.explain(picture, "cam")
    plain = plain_forwards(model, sample, explainer.provider)
    for case in CASES:
        yield _measure_case(explainer, plain, case, picture, rounds)


def _measure_case(
    explainer: onnxplain.Explainer, plain: Plain, case: Case, picture: Path, rounds: int
) -> Measured:
    seconds, ratios = [], []
    forwards = _forwards(explainer.explain(picture, case.method, **case.options).diagnostics)
    for _ in range(rounds):
        before = plain.seconds(forwards)
        began = time.perf_counter()
        explainer.explain(picture, case.method, **case.options)
        seconds.append(time.perf_counter() - began)
        after = plain.seconds(forwards)
        ratios.append(2 * seconds[-1] / (before + after))
    return Measured(case.title, forwards, statistics.median(seconds), statistics.median(ratios))


def _forwards(diagnostics: Mapping[str, Any]) -> int:
    return int(diagnostics.get("forward_passes", 1))
