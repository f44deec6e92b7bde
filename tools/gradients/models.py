"""Gradients of the shipped models: how exact they are, what they cost, how the graph grows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from peers.modules import torch_module  # type: ignore[import-not-found]

from onnxplain.graph.surgery import with_outputs
from tools.gradients import torch_side
from tools.gradients.ours import Subject, difference, session

_MODELS = Path(__file__).parents[2] / "models"

HEADER = (
    "| model | by the picture | 1 - cosine | by the layer | 1 - cosine | input gradient / forward "
    "| Grad-CAM / forward | file grows by |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def rows(rounds: int) -> Iterator[str]:
    """One row in Markdown per model; costs are medians of `rounds`, taken in turn."""
    for path in sorted(_MODELS.glob("*.onnx")):
        subject = Subject(path)
        exact = [f"{value:.0e}" for pair in errors(subject) for value in pair]
        costs = [f"{ratio:.2f}" for ratio in _ratios(subject, rounds)]
        added = len(subject.differentiated(subject.picture).proto.SerializeToString())
        growth = f"{added / path.stat().st_size - 1:.1%}"
        yield f"| {' | '.join([path.stem, *exact, *costs, growth])} |"


def errors(subject: Subject) -> tuple[tuple[float, float], tuple[float, float]]:
    """`difference` from torch in float64, by the picture and by the layer."""
    at_input, at_layer = subject.gradients()
    net = torch_module(subject.original.proto, output=subject.score)
    values = subject.values[subject.layer]
    _, by_input, by_layer = torch_side.gradients(net, subject.x, subject.seed, values)
    if by_layer is None:
        raise ValueError(f"torch computes nothing equal to {subject.layer!r}")
    return difference(at_input, by_input), difference(at_layer, by_layer)


def _ratios(subject: Subject, rounds: int) -> list[float]:
    models = [
        with_outputs(subject.original, [subject.score]),
        subject.differentiated(subject.picture),
        subject.differentiated(subject.layer),
    ]
    sessions = [session(model) for model in models]
    feeds = [{i.name: subject.feeds[i.name] for i in s.get_inputs()} for s in sessions]
    seconds: list[list[float]] = [[] for _ in sessions]
    for _ in range(rounds):
        for opened, feed, taken in zip(sessions, feeds, seconds, strict=True):
            began = time.perf_counter()
            opened.run(None, feed)
            taken.append(time.perf_counter() - began)
    plain, *others = (statistics.median(taken) for taken in seconds)
    return [other / plain for other in others]
