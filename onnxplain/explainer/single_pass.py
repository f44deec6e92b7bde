"""Running the finished graphs of methods that need one pass through the model."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.analysis.batch_axis import has_fixed_batch
from onnxplain.analysis.layers import Layer
from onnxplain.errors import MapError, TargetError
from onnxplain.execution.baselines import Scene, make_baseline
from onnxplain.execution.derivatives import Derivatives
from onnxplain.execution.finished import Plan, finish, reference_name, report_name, value_name
from onnxplain.execution.runner import Runner, fill
from onnxplain.execution.scoring import Scored
from onnxplain.methods.base import Computed, SinglePassMethod
from onnxplain.recent import Recent
from onnxplain.runtime.batching import BatchSize, Fastest, in_batches, silent
from onnxplain.runtime.session import Session
from onnxplain.targets import Target
from onnxplain.tensors import Array, FloatArray, TensorSpec

_FEW: Mapping[str, int] = {"cpu": 16, "cuda": 2}
"""Samples below which each is run alone."""

_SIZES_KEPT = 64

_LARGEST = 64
"""A backward pass keeps every activation."""


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass is to compute: the maps of a method for samples of one shape.

    `scored` holds the targets of one sample, as a pattern for those of the others.
    `class_weights` are those of the classifier, where the method reads them.
    """

    method: SinglePassMethod
    scored: Scored
    layers: Sequence[Layer]
    class_weights: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Explained:
    """A sample and its targets.

    `activation` is that of the layer, (1, ...), where a plain run has told it already: the pass
    starts from there.
    """

    scene: Scene
    targets: Sequence[Target]
    activation: Array | None = None


Run = tuple[Array, Computed | MapError]
"""The answer to a sample, (1, ...), and its maps, or why there are none."""


class SinglePass:
    """Finished graphs of one model, opened once for each kind of question."""

    def __init__(self, runner: Runner, derivatives: Derivatives) -> None:
        """Start with no graph."""
        self._runner = runner
        self._derivatives = derivatives
        self._sizes: Recent[BatchSize] = Recent(_SIZES_KEPT)

    def run_many(self, asked: Pass, explained: Sequence[Explained]) -> Iterator[Run]:
        """Compute the maps of samples, in batches of the size that is fastest.

        They must be of the shape and of the families of targets of `asked`.

        Raises:
            GradientError: an operator on the way has no gradient, or the graph that was made ready
                for gradients does not answer as the model does.
            TargetError: the method shares out a number that is linear in the answer, and a target
                is not, or the method explains classes only.
        """
        _check_linear(asked)

        def go(part: slice) -> list[Array]:
            answers, computed = self._run(asked, explained[part])
            found.extend(zip(answers, computed, strict=True))
            return [answers]

        found: deque[Run] = deque()
        size = self._batch_size(asked, explained)
        for part, _ in in_batches(go, len(explained), size, silent):
            for _ in range(part.start, part.stop):
                answer, computed = found.popleft()
                yield answer[None], computed

    def _run(
        self, asked: Pass, explained: Sequence[Explained]
    ) -> tuple[Array, list[Computed | MapError]]:
        """The answers (N, ...) to a batch of samples, and their maps."""
        runner = self._runner
        scenes, targets = [one.scene for one in explained], [one.targets for one in explained]
        samples = _stacked([scene.x for scene in scenes]).astype(runner.spec.dtype, copy=False)
        plan = self._plan(asked, explained[0], samples)
        session = runner.session(_key(plan, asked.method), lambda: finish(plan))
        size = plan.batch or len(samples)
        feeds = {
            runner.spec.name: fill(samples, size),
            **runner.others_for(size),
            **_entered(plan, explained, size),
            **{name: fill(v, size) for name, v in self._references(plan, asked, scenes).items()},
            **{name: fill(v, size) for name, v in asked.scored.feeds(targets).items()},
        }
        runner.runs += 1
        found = dict(zip(session.outputs, session.run(feeds), strict=True))
        answers = found[plan.answer][: len(samples)]
        self._prove(plan, samples[:1], answers[:1])
        computed = [
            _computed(session, found, i, len(own), plan, asked) for i, own in enumerate(targets)
        ]
        return answers, computed

    def _plan(self, asked: Pass, one: Explained, samples: Array) -> Plan:
        runner = self._runner
        fixed = has_fixed_batch(runner.model.proto, runner.spec.name) or 1
        batch: int | None = fixed
        model = runner.single if fixed == 1 else runner.model
        if fixed == 1 and len(samples) > 1:
            found = runner.batching(samples[:1], [asked.scored.reading.tensor])
            model, batch = found.model, found.exact
        return Plan(
            model=model,
            lowered=self._derivatives.lowered(model),
            spec=runner.spec,
            shape=one.scene.x.shape,
            planes=one.scene.planes,
            scored=asked.scored,
            formula=asked.method,
            layers=asked.layers,
            others={name: v.shape for name, v in runner.others_for(batch or 1).items()},
            batch=batch,
            class_weights=asked.class_weights,
            cut=_cut(asked, one),
        )

    def _batch_size(self, asked: Pass, explained: Sequence[Explained]) -> BatchSize:
        """How many samples go into one run.

        A graph for several samples is a second session, which pays where there are many.
        """
        runner = self._runner
        fixed = has_fixed_batch(runner.model.proto, runner.spec.name)
        if fixed is not None and fixed > 1:
            return BatchSize(fixed)
        if runner.batch_size == 1 or (
            runner.batch_size is None and len(explained) < _FEW[runner.device]
        ):
            return BatchSize(1)
        x = explained[0].scene.x.astype(runner.spec.dtype)
        if runner.batching(x, [asked.scored.reading.tensor]).exact == 1:
            return BatchSize(1)
        if runner.batch_size is not None:
            return BatchSize(runner.batch_size)
        key = type(asked.method), asked.scored.key, explained[0].scene.x.shape
        return self._sizes.get(key, lambda: Fastest(_LARGEST))

    def _references(
        self, plan: Plan, asked: Pass, scenes: Sequence[Scene]
    ) -> Mapping[str, FloatArray]:
        dtype = plan.spec.dtype
        return {
            reference_name(plan, name): _stacked(
                [make_baseline(spec, scene) for scene in scenes]
            ).astype(dtype, copy=False)
            for name, spec in asked.method.references.items()
        }

    def _prove(self, plan: Plan, x: Array, found: Array) -> None:
        """Check once that what is differentiated answers as the model does, from the input on."""
        if self._derivatives.is_proved(plan.answer):
            return
        (expected,) = self._runner.forward(x, [plan.answer])
        if plan.cut is None:
            self._derivatives.compare(plan.answer, found, expected)
        else:
            self._derivatives.prove(plan.answer, x, expected)


def _cut(asked: Pass, one: Explained) -> TensorSpec | None:
    """The layer that the pass starts from, as it is in a model that is ready for gradients."""
    if one.activation is None:
        return None
    dtype = one.activation.dtype
    ready = np.dtype(np.float32) if dtype.kind == "f" else dtype
    return TensorSpec(asked.layers[0].tensor, ready, (None, *one.activation.shape[1:]))


def _entered(plan: Plan, explained: Sequence[Explained], size: int) -> Mapping[str, Array]:
    """What the layer that a pass starts from is fed."""
    if plan.cut is None:
        return {}
    known = [one.activation for one in explained if one.activation is not None]
    return {plan.cut.name: fill(_stacked(known).astype(plan.cut.dtype, copy=False), size)}


def _stacked(samples: Sequence[Array]) -> Array:
    """Samples (1, ...) as one batch; a single one is not copied."""
    return samples[0] if len(samples) == 1 else np.concatenate(samples)


def _check_linear(asked: Pass) -> None:
    """Check that rules which share out a number start from one that the model computes."""
    if not asked.method.distributes:
        return
    reading = asked.scored.reading
    if not (reading.is_plain and all(target.linear for target in asked.scored.targets)):
        raise TargetError(
            "This method distributes a number that the graph itself computes: explain a class, "
            "an element or a region of the model's own answer, or use integrated_gradients."
        )


def _key(plan: Plan, method: SinglePassMethod) -> Hashable:
    """What finished graphs differ in."""
    sized = method.needs_sizes or any("T" in layer.layout.axes for layer in plan.layers)
    options = tuple(
        (field.name, value)
        for field in dataclasses.fields(method)
        if isinstance(value := getattr(method, field.name), str | int | float | None)
    )
    return (
        plan.model,
        type(method),
        options,
        plan.scored.key,
        tuple(layer.tensor for layer in plan.layers),
        plan.batch,
        tuple(plan.sizes.items()) if sized else len(plan.shape),
        plan.cut,
    )


def _computed(
    session: Session,
    found: Mapping[str, Array],
    sample: int,
    targets: int,
    plan: Plan,
    asked: Pass,
) -> Computed | MapError:
    """What was computed for one sample of the batch, or why it means nothing."""
    prefix = report_name("", 0, 0)
    names = [name.removeprefix(prefix) for name in session.outputs if name.startswith(prefix)]
    values = [
        np.stack([found[value_name(layer, t)][sample] for t in range(targets)]).astype(np.float32)
        for layer in plan.places
    ]
    if not all(np.isfinite(value).all() for value in values):
        return MapError(_not_finite(asked, plan))
    reports = [
        {
            name: np.stack([found[report_name(name, layer, t)][sample] for t in range(targets)])
            for name in names
        }
        for layer in plan.places
    ]
    return Computed(values, reports)


def _not_finite(asked: Pass, plan: Plan) -> str:
    by = asked.layers[0].tensor if asked.layers else plan.spec.name
    return (
        f"The gradient by {by!r} is NaN or infinite: try another target or layer, a "
        "float32 version of the model, or a method without gradients, such as scorecam."
    )
