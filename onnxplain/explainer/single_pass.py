"""Run the finished graphs of single-pass methods: those that need one pass through the model."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from onnxplain.errors import MapError, TargetError
from onnxplain.execution.arrays import fill, is_finite, joined
from onnxplain.execution.baselines import Scene
from onnxplain.execution.derivatives import Derivatives
from onnxplain.execution.finished import finish
from onnxplain.execution.plan import Formula, Plan, report_name, value_name
from onnxplain.execution.runner import Runner
from onnxplain.execution.scoring import Scored
from onnxplain.explainer.request import Request
from onnxplain.explainer.task import ScoredTargets, Task
from onnxplain.methods.base import Computed, SinglePassMethod
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.recent import Recent
from onnxplain.runtime.batching import BatchSize, Fastest, in_batches, silent
from onnxplain.runtime.session import Session
from onnxplain.targets import Target
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms.paired import paired_name

_FEW: Mapping[str, int] = {"cpu": 16, "cuda": 2}
"""Samples below which each is run alone: a graph for several is a second session."""

_SIZES_KEPT = 64

_LARGEST = 64
"""Samples in a batch. Larger ones need much memory: a backward pass keeps every activation."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A sample, and what is known about it before its pass.

    If a plain run was needed to find the targets, `answers` are the model's own answers for the
    sample. `activation` is the activation of the layer, (1, ...), if the plain run has computed it;
    the pass then starts from it.
    """

    asked: Request
    task: Task
    scene: Scene
    scored: ScoredTargets
    answers: Array | None = None
    activation: Array | None = None

    @property
    def method(self) -> SinglePassMethod:
        """The method of the request."""
        return cast(SinglePassMethod, self.asked.method)


@dataclass(frozen=True, eq=False)
class Pass:
    """One kind of pass: it computes the maps of one group of the targets of samples.

    `one` is an example of these samples. `group` is the index of the group of targets; those of
    the other samples have the same families.
    """

    one: Prepared
    group: int

    @property
    def scored(self) -> Scored:
        """How the targets of the example are scored."""
        return self.one.scored.groups[self.group]

    def targets(self, ready: Prepared) -> Sequence[Target]:
        """The targets of a sample in this group."""
        return ready.scored.groups[self.group].targets

    @property
    def answer(self) -> str:
        """The tensor that scores are read from."""
        return self.scored.reading.tensor

    @property
    def shape(self) -> Shape:
        """The shape of one sample, (1, ...)."""
        return self.one.scene.shape

    @property
    def places(self) -> range:
        """Indices of the layers with a map; only 0 if the formula reads no layer."""
        return range(max(1, len(self.one.task.layers)))

    @property
    def key(self) -> Hashable:
        """For one model, passes with equal keys share a graph."""
        task, method = self.one.task, self.one.method
        # Tokens, and grids that have no rows and columns, are reshaped.
        reshaped = ("T" in one.layout.axes or len(one.grid) != 2 for one in task.layers)
        sized = method.needs_sizes or method.adds_components or any(reshaped)
        sizes = task.sizes if sized else len(self.shape)
        return method.key, self.scored.key, sizes, self.cut

    @property
    def cut(self) -> TensorSpec | None:
        """The layer that the pass starts from, as in the lowered model; None if it starts at x."""
        if self.one.activation is None:
            return None
        dtype, shape = self.one.activation.dtype, self.one.activation.shape
        ready = np.dtype(np.float32) if dtype.kind == "f" else dtype
        return TensorSpec(self.one.task.layers[0].tensor, ready, (None, *shape[1:]))


Run = tuple[Array, Computed | MapError]
"""The answer for a sample, (1, ...), and its maps, or the error if there are none."""


class SinglePass:
    """Finished graphs of one model, opened once for each kind of pass."""

    def __init__(self, runner: Runner, derivatives: Derivatives) -> None:
        """Prepare; no graph is made yet."""
        self._runner = runner
        self._derivatives = derivatives
        self._sizes: Recent[BatchSize] = Recent(_SIZES_KEPT)

    def run_many(self, asked: Pass, ready: Sequence[Prepared]) -> Iterator[Run]:
        """Yield the answers and maps of samples, in batches of the fastest size.

        The samples must have the shape of `asked`, and targets of the same families.

        Raises:
            GradientError: an operator has no gradient, or the graph that was made ready for
                gradients does not give the model's answer.
            TargetError: the method distributes a score that must be linear in the answer, but a
                target is not linear; or the method explains only classes, and a target is none.
        """
        check_linear(asked.one.method, asked.scored)

        def go(part: slice) -> list[Array]:
            return self._run(asked, ready[part], at_once)

        at_once = self._runner.at_once(len(ready), asked.one.task.structure.held)
        outputs = self._session(asked, ready[:1], at_once)[0].outputs
        size = self._batch_size(asked, len(ready), at_once)
        for part, values in in_batches(go, len(ready), size, silent):
            self._runner.activity.runs += 1
            found = dict(zip(outputs, values, strict=True))
            answers = found[asked.answer]
            self._prove(asked, ready[part.start], answers[:1])
            for i, one in enumerate(ready[part]):
                yield answers[i : i + 1], self._computed(asked, found, i, len(asked.targets(one)))

    def _run(self, asked: Pass, ready: Sequence[Prepared], at_once: int) -> list[Array]:
        """The outputs of the graph for a batch of samples."""
        runner = self._runner
        # These values belong to the thread, and may have been replaced since the last batch.
        runner.others = ready[0].asked.others
        session, batch = self._session(asked, ready, at_once)
        size = batch or len(ready)
        own = {
            runner.spec.name: _samples(ready, self._derivatives.spec),
            **_entered(asked, ready),
            **self._references(ready),
            **asked.scored.feeds([*map(asked.targets, ready)]),
        }
        return session.run(
            runner.others_for(size) | {name: fill(value, size) for name, value in own.items()}
        )

    def _session(
        self, asked: Pass, ready: Sequence[Prepared], at_once: int
    ) -> tuple[Session, int | None]:
        """The session for a batch of samples, and the batch size that it requires; None if any."""
        model, batch = self._takes(asked, ready)
        session = self._runner.session(
            (model, batch, asked.key), lambda: finish(self._plan(asked, model, batch)), at_once
        )
        return session, batch

    def _computed(
        self, asked: Pass, found: Mapping[str, Array], sample: int, targets: int
    ) -> Computed | MapError:
        """The maps of one sample of the batch, or an error if they are not finite."""
        prefix = report_name("", 0, 0)
        names = [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
        values = [
            _rows([found[value_name(layer, t)] for t in range(targets)], sample)
            for layer in asked.places
        ]
        if not all(map(is_finite, values)):
            read = [layer.tensor for layer in asked.one.task.layers] or [self._runner.spec.name]
            return _not_finite(asked.one.method, read[0])
        reports = [
            {
                name: _rows([found[report_name(name, layer, t)] for t in range(targets)], sample)
                for name in names
            }
            for layer in asked.places
        ]
        return Computed(values, reports)

    def _takes(self, asked: Pass, ready: Sequence[Prepared]) -> tuple[Model, int | None]:
        """The model for the samples, and the batch size that it requires; None if any."""
        runner = self._runner
        fixed = runner.fixed_batch or 1
        if fixed > 1:
            return runner.model, fixed
        if len(ready) == 1:
            return runner.single, fixed
        found = runner.batching(_samples(ready[:1], runner.spec), [asked.answer])
        return found.model, found.exact

    def _plan(self, asked: Pass, model: Model, batch: int | None) -> Plan:
        plan = self.plan(asked.one.task, asked.one.scene, asked.scored, model, batch)
        return replace(plan, cut=asked.cut)

    def plan(
        self, task: Task, scene: Scene, scored: Scored, model: Model, batch: int | None
    ) -> Plan:
        """The plan of the graph that explains samples such as that of `scene`."""
        return Plan(
            model=model,
            lowered=self._derivatives.lowered(model),
            spec=self._derivatives.spec,
            shape=scene.x.shape,
            planes=scene.planes,
            scored=scored,
            formula=cast(Formula, task.method),
            layers=task.layers,
            others={name: v.shape for name, v in self._runner.others_for(batch or 1).items()},
            batch=batch,
            class_weights=task.class_weights,
        )

    def _batch_size(self, asked: Pass, samples: int, at_once: int) -> BatchSize:
        """The number of samples in one run.

        It is 1 for parallel runs, because larger batches are no faster, and for few samples.
        """
        runner = self._runner
        if (runner.fixed_batch or 1) > 1:
            return BatchSize(runner.fixed_batch or 1, at_once)
        given = runner.batch_size
        few = given is None and samples < _FEW[runner.device]
        if few or at_once > 1 or 1 in (given, samples):
            return BatchSize(1, at_once)
        x = _samples([asked.one], runner.spec)
        if runner.batching(x, [asked.answer]).exact == 1:
            return BatchSize(1, at_once)
        if given is not None:
            return BatchSize(given)
        key = type(asked.one.method), asked.scored.key, asked.shape
        return self._sizes.get(key, lambda: Fastest(_LARGEST))

    def _references(self, ready: Sequence[Prepared]) -> Mapping[str, FloatArray]:
        spec = self._derivatives.spec
        return {
            paired_name(name, spec.name): joined(
                [one.scene.baseline(one.method.references[name]) for one in ready]
            ).astype(spec.dtype, copy=False)
            for name in ready[0].method.references
        }

    def _prove(self, asked: Pass, ready: Prepared, found: Array) -> None:
        """Check, once per model, that the differentiated graph gives the model's answer."""
        reading, derivatives = asked.scored.reading, self._derivatives
        if derivatives.is_proved(reading):
            return
        x = _samples([ready], self._runner.spec)
        self._runner.others = ready.asked.others
        (expected,) = self._runner.forward(x, [asked.answer])
        if asked.cut is None:
            derivatives.compare(reading, found, expected)
        else:
            derivatives.prove(reading, x, expected)


def _samples(ready: Sequence[Prepared], spec: TensorSpec) -> Array:
    """Samples as one batch (N, ...), in the dtype of the input."""
    return joined([one.scene.x for one in ready]).astype(spec.dtype, copy=False)


def _entered(asked: Pass, ready: Sequence[Prepared]) -> Mapping[str, Array]:
    """The feed for the layer that a pass starts from; empty if it starts from the input."""
    if asked.cut is None:
        return {}
    known = [one.activation for one in ready if one.activation is not None]
    return {asked.cut.name: joined(known).astype(asked.cut.dtype, copy=False)}


def check_linear(method: SinglePassMethod, scored: Scored) -> None:
    """Raise TargetError if rules that distribute a score get one that is not linear."""
    if not method.distributes:
        return
    if not (scored.reading.is_plain and all(target.linear for target in scored.targets)):
        raise TargetError(
            "This method distributes a number that the graph itself computes: explain a class, "
            "an element, a region or a weighted sum (targets.Mask) of the model's own answer, or "
            "use integrated_gradients. A target of your own whose number is linear says so by "
            "`linear = True`."
        )


def _rows(values: Sequence[Array], sample: int) -> Array:
    """The values of one sample of a batch, (targets, ...); copied, so that the batch is freed."""
    if len(values) == len(values[0]) == 1:
        return values[0]
    return np.array([one[sample] for one in values])


def _not_finite(method: SinglePassMethod, by: str) -> MapError:
    if not method.needs_gradient:
        return MapError(
            f"The values of {method.name} are not finite: check the values of the input, and the "
            "preprocessing if it is a picture."
        )
    return MapError(
        f"The gradient with respect to {by!r} is NaN or infinite: try another target or layer, a "
        "float32 version of the model, or a method without gradients, such as occlusion."
    )
