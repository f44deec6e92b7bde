"""Requests to single-pass methods: those that need one pass through the model."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import cast

from onnxplain.errors import MapError, OnnxplainError, attempted
from onnxplain.execution.arrays import joined, repeated
from onnxplain.execution.baselines import Scene
from onnxplain.execution.runner import Runner
from onnxplain.explainer.request import Request, Result
from onnxplain.explainer.single_pass import Pass, Prepared, Run, SinglePass
from onnxplain.explainer.task import Task, finite_scores
from onnxplain.methods.base import Computed, SinglePassMethod
from onnxplain.targets.parse import needs_answer


def prepared(asked: Request, task: Task, scene: Scene, runner: Runner) -> Prepared:
    """What is known about a sample before its pass.

    The graph itself finds the classes with the largest scores. Anything else that depends on the
    answer needs a plain run. A model that rounds always needs one, because the graph does not
    round and gives slightly different answers.

    Raises:
        OnnxplainError: the method, its options or the targets do not fit the model or the sample.
    """
    method, reading, layers = cast(SinglePassMethod, asked.method), task.reading, task.layers
    method.check_sample(scene)
    method.check_model(task.structure)
    # Rules that distribute a score must know whether a softmax is added to the model.
    expected = (reading.known or not method.distributes) and not runner.rounds
    expected = expected and not any(map(needs_answer, asked.targets))
    if task.shape is not None and expected:
        scored = task.expected(asked, task.shape)
        asked.check(scored.targets)
        return Prepared(asked, task, scene, scored)
    starts = method.starts_at_layer and len(layers) == 1
    values, *entered = runner.forward(
        asked.x, [reading.tensor, *(layer.tensor for layer in layers if starts)]
    )
    reading = reading.settled(values)
    targets = task.resolved(asked, task.answered(asked, reading, values))
    scored = task.scored_targets(reading, values.shape, targets)
    activation = entered[0] if entered and task.shape is None else None
    return Prepared(asked, task, scene, scored, values, activation)


def run_prepared(
    graphs: SinglePass, ready: Iterable[Prepared | OnnxplainError]
) -> Iterator[Result | OnnxplainError]:
    """Yield the result or the error of each sample of one task, in order.

    Samples that share a graph run in batches.
    """
    for key, some in groupby(ready, key=_shared_by):
        batch = list(some)
        if key is None:
            yield from (one for one in batch if isinstance(one, OnnxplainError))
        else:
            yield from _batch(graphs, [one for one in batch if isinstance(one, Prepared)])


def _batch(graphs: SinglePass, ready: Sequence[Prepared]) -> Iterator[Result | OnnxplainError]:
    """Run samples that share graphs: in batches if there is one graph, else one by one."""
    if len(ready[0].scored.groups) > 1:
        for one in ready:
            yield attempted(_in_groups, graphs, one)
        return
    done = 0
    try:
        for one, run in zip(ready, graphs.run_many(Pass(ready[0], 0), ready), strict=True):
            yield attempted(_finished, one, [run])
            done += 1
    except OnnxplainError as error:
        yield from (error for _ in ready[done:])


def _in_groups(graphs: SinglePass, ready: Prepared) -> Result:
    """Run one sample once for each group of its targets."""
    passes = [Pass(ready, group) for group in range(len(ready.scored.groups))]
    return _finished(ready, [run for asked in passes for run in graphs.run_many(asked, [ready])])


def _shared_by(ready: Prepared | OnnxplainError) -> Hashable | None:
    """A key: samples of one task with equal keys share graphs; None for an error."""
    if isinstance(ready, OnnxplainError):
        return None
    return ready.scored.key, ready.activation is None


def _finished(ready: Prepared, runs: Sequence[Run]) -> Result:
    """The result of a sample, from the runs of all groups of its targets."""
    asked, task, scored = ready.asked, ready.task, ready.scored
    values = runs[-1][0] if ready.answers is None else ready.answers
    reading, method = scored.reading.settled(values), ready.method
    answered = task.answered(asked, reading, values)
    targets = [target.resolved(answered) for target in scored.targets]
    scores = finite_scores(method, reading, values, targets)
    repeats = len(targets) // len(scored.own)
    plain_runs = int(ready.answers is not None)
    computed = _together([part for _, part in runs], repeats, plain_runs)
    maps = method.collected(computed, scores, task.layers, task.structure)
    return task.result(asked, reading, answered, targets, scores, maps)


def _together(parts: Sequence[Computed | MapError], repeats: int, plain_runs: int) -> Computed:
    """The maps of all groups of targets; `repeats` is 1, or how many targets share a map.

    Raises:
        MapError: one of them is not finite.
    """
    found: list[Computed] = []
    for part in parts:
        if isinstance(part, MapError):
            raise part
        found.append(part)
    values = [
        repeated(joined(own), repeats) for own in zip(*(p.values for p in found), strict=True)
    ]
    reports = [
        {name: repeated(joined([one[name] for one in own]), repeats) for name in own[0]}
        for own in zip(*(p.reports for p in found), strict=True)
    ]
    return Computed(values, reports, plain_runs)
