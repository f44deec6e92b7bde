"""Gradients of the shipped models: their accuracy, their cost, and the growth of the graph."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from onnxplain.transforms.extract import with_outputs
from tools.gradients import torch_side
from tools.gradients.gaps import Gap, gaps
from tools.gradients.ours import CONVOLUTIONAL, Subject, session
from tools.peers.modules import torch_module

HEADER = (
    "| model | by the picture | 1 - cosine | in float64 | by the layer | 1 - cosine | in float64 "
    "| input gradient / forward | Grad-CAM / forward | file grows by |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def rows(rounds: int) -> Iterator[str]:
    """One row in Markdown per model; costs are medians of `rounds`, taken in turn."""
    for path in CONVOLUTIONAL:
        subject = Subject(path)
        found = errors(subject).values()
        exact = [f"{v:.0e}" for gap in found for v in (*gap.float32, gap.float64[0])]
        costs = [f"{ratio:.2f}" for ratio in _ratios(subject, rounds)]
        added = len(subject.differentiated(subject.picture).proto.SerializeToString())
        growth = f"{added / path.stat().st_size - 1:.1%}"
        yield f"| {' | '.join([path.stem, *exact, *costs, growth])} |"


def errors(subject: Subject) -> dict[str, Gap]:
    """Differences from torch's gradients in float64, at the picture and at the layer."""
    net = torch_module(subject.original.proto, output=subject.score)
    layer = {subject.layer: subject.values[subject.layer]}
    exact = torch_side.gradients(net, subject.x, subject.seed, layer)
    if subject.layer not in exact.layers:
        raise ValueError(f"torch computes nothing equal to {subject.layer!r}")
    return gaps(subject, {subject.picture: exact.picture, **exact.layers})[0]


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
