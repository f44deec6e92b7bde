"""A model and what is known about it, asked to explain samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ParamSpec, TypeVar

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.analysis.score import ScoreTensor
from onnxplain.errors import MapError, OnnxplainError, TargetError
from onnxplain.execution.answers import Reading, read
from onnxplain.execution.baselines import Scene
from onnxplain.execution.derivatives import Derivatives
from onnxplain.execution.model_structure import ModelAnatomy
from onnxplain.execution.points import target_chunks
from onnxplain.execution.runner import Runner
from onnxplain.execution.sample import Sample
from onnxplain.execution.samples import Samples
from onnxplain.execution.scoring import Scored
from onnxplain.explainer.sampled import explain_by_samples
from onnxplain.explainer.single_pass import Explained, Pass, SinglePass
from onnxplain.images.geometry import Placement
from onnxplain.images.labels import Labels
from onnxplain.methods.base import Computed, Maps, Method, SinglePassMethod
from onnxplain.recent import Recent
from onnxplain.targets import Answered, NoClass, Target, TargetSpec, resolve
from onnxplain.targets.kinds import is_one_number_per_class
from onnxplain.targets.specs import Unanswered, asks_for_the_top
from onnxplain.tensors import Array, FloatArray

_SHAPES_KEPT = 16
"""Pictures of many sizes may come to a model that takes any."""

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Request:
    """One sample, (1, ...), in the model's own type, and what is asked about it.

    `placement` says how a picture became the sample; None where none did.
    """

    x: Array
    method: Method
    targets: Sequence[TargetSpec]
    others: Mapping[str, Array]
    placement: Placement | None = None
    single: bool = False


@dataclass(frozen=True, eq=False)
class Result:
    """What a method computed for one sample, for all of its targets."""

    maps: Maps
    targets: list[Target]
    scores: FloatArray
    kinds: Sequence[str]
    layers: Sequence[Layer]
    score_tensor: str
    batching: str

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Tensors of the layers."""
        return tuple(layer.tensor for layer in self.layers)


class ExplainedModel:
    """Keeps what was found out about the model for samples of each shape.

    `labels` is asked when a target is resolved, or where nothing else tells an answer's classes.
    """

    def __init__(
        self,
        runner: Runner,
        samples: Samples,
        score: ScoreTensor,
        labels: Callable[[], Labels | None],
    ) -> None:
        self._runner = runner
        self._samples = samples
        self._score = score
        self._labels = labels
        self._derivatives = Derivatives(runner)
        self._single_pass = SinglePass(runner, self._derivatives)
        self._anatomies: Recent[ModelAnatomy] = Recent(_SHAPES_KEPT)

    def anatomy(self, x: Array | None = None) -> ModelAnatomy:
        """The model's layers for samples of the shape of `x`, by default that of pictures."""
        sample = self._samples.noise() if x is None else x
        others = {name: value.shape for name, value in self._runner.others.items()}
        key = sample.shape, *sorted(others.items())
        return self._anatomies.get(
            key,
            lambda: ModelAnatomy(
                self._runner,
                sample,
                self._score.logit,
                self._labels,
                lambda: self._derivatives.ready,
            ),
        )

    def targets(self, asked: Request) -> list[Target]:
        """What the targets of a request mean for its sample."""
        self._runner.others = dict(asked.others)
        reading = self._reading(asked)
        (values,) = self._runner.forward(asked.x, [reading.tensor])
        return self._resolved(asked, reading.settled(values), values)

    def explain(self, asked: Request) -> Result:
        """Explain a sample.

        Raises:
            OnnxplainError: one of its kinds.
        """
        (found,) = self.explain_many([asked])
        if isinstance(found, OnnxplainError):
            raise found
        return found

    def explain_many(self, asked: Sequence[Request]) -> Iterator[Result | OnnxplainError]:
        """Explain samples by one method, in order; with the error in place of one that has any.

        Those of one shape run in batches where the method takes one pass, of the size that is
        fastest.
        """
        for group in _alike(asked):
            method = group[0].method
            if isinstance(method, SinglePassMethod):
                yield from self._in_one_pass(group, method)
            else:
                for one in group:
                    yield attempted(self._sampled, one, method)

    def _in_one_pass(
        self, asked: Sequence[Request], method: SinglePassMethod
    ) -> Iterator[Result | OnnxplainError]:
        """Explain samples of one shape by a finished graph.

        The graph itself finds the classes with the largest scores. What else depends on the answer
        is found out by a plain run before.
        """
        ready = [attempted(self._prepared, one, method) for one in asked]
        for key, some in groupby(ready, key=_Prepared.shared_by):
            batch = list(some)
            if key is None:
                yield from (one for one in batch if isinstance(one, OnnxplainError))
            else:
                yield from self._passes([one for one in batch if isinstance(one, _Prepared)])

    def _passes(self, ready: Sequence[_Prepared]) -> Iterator[Result | OnnxplainError]:
        """Run samples that one graph serves."""
        first = ready[0]
        chunks = list(target_chunks(len(first.own)))
        if len(chunks) == 1:
            runs = self._single_pass.run_many(
                first.passed(chunks[0]), [p.explained() for p in ready]
            )
            for one, (answers, computed) in zip(ready, runs, strict=True):
                yield attempted(self._finished, one, answers, [computed])
            return
        for one in ready:
            yield attempted(self._in_chunks, one, chunks)

    def _in_chunks(self, ready: _Prepared, chunks: Sequence[Sequence[int]]) -> Result:
        """More targets than a graph has run one group after the other."""
        parts: list[Computed | MapError] = []
        for some in chunks:
            ((answers, computed),) = self._single_pass.run_many(
                ready.passed(some), [ready.explained(some)]
            )
            parts.append(computed)
        return self._finished(ready, answers, parts)

    def _prepared(self, asked: Request, method: SinglePassMethod) -> _Prepared:
        """What is known of a sample before it is run."""
        self._runner.others = dict(asked.others)
        anatomy, reading = self.anatomy(asked.x), self._reading(asked)
        layers, scene = method.layers(anatomy), self._samples.scene(asked.x)
        method.check(scene)
        method.check_model(anatomy)
        shape = anatomy.shapes.get(reading.tensor)
        targets, plain_runs, activation = None, 0, None
        if shape is not None and (reading.known or not method.distributes):
            shape = (1, *shape[1:])
            targets = self._expected(asked, shape)
        if targets is None:
            entrance = [layers[0].tensor] if method.starts_at_layer and len(layers) == 1 else []
            values, *entered = self._runner.forward(asked.x, [reading.tensor, *entrance])
            reading, activation = reading.settled(values), next(iter(entered), None)
            targets, shape, plain_runs = self._resolved(asked, reading, values), values.shape, 1
        if asked.single and len(targets) > 1:
            raise _several(asked, len(targets))
        weights = None
        if method.reads_classifier:
            weights = anatomy.classifier().matrix(layers[0].channels)
        assert shape is not None, "the plain run has told the shape"
        return _Prepared(
            asked, method, scene, reading, layers, weights, targets, shape, plain_runs, activation
        )

    def _finished(
        self, ready: _Prepared, answers: Array, parts: Sequence[Computed | MapError]
    ) -> Result:
        """The result of a sample, from what its passes have computed."""
        asked, method = ready.asked, ready.method
        reading = ready.reading.settled(answers)
        targets = self._resolved(asked, reading, answers)
        scores = self._scores(asked, reading, targets, answers)
        computed = joined(parts, 1 if method.needs_target else len(targets), ready.plain_runs)
        anatomy = self.anatomy(asked.x)
        maps = method.collected(computed, scores, ready.layers, anatomy)
        return self._result(asked, reading, targets, scores, ready.layers, maps, "")

    def _sampled(self, asked: Request, method: Method) -> Result:
        """Explain a sample by many that are made from it."""
        self._runner.others = dict(asked.others)
        anatomy, reading = self.anatomy(asked.x), self._reading(asked)
        layers = method.layers(anatomy)
        method.check(self._samples.scene(asked.x))
        wanted = [reading.tensor, *(layer.tensor for layer in layers)]
        found = self._runner.forward(asked.x, wanted)
        reading = reading.settled(found[0])
        targets = self._resolved(asked, reading, found[0])
        sample = Sample(
            self._runner,
            self._samples.scene(asked.x),
            reading,
            targets,
            found[0],
            list(zip(layers, found[1:], strict=True)),
            self._derivatives,
        )
        self._scores(asked, reading, targets, found[0])
        maps = explain_by_samples(method, sample)
        return self._result(asked, reading, targets, sample.scores, layers, maps, sample.how)

    def _scores(
        self, asked: Request, reading: Reading, targets: list[Target], answers: Array
    ) -> FloatArray:
        scores: FloatArray = reading.scores(answers, targets)[0]
        if asked.method.needs_target and not np.isfinite(scores).all():
            raise MapError(
                "The model's score for this input is NaN or infinite: check its values, and the "
                "preprocessing if it is a picture."
            )
        return scores

    def _result(
        self,
        asked: Request,
        reading: Reading,
        targets: list[Target],
        scores: FloatArray,
        layers: Sequence[Layer],
        maps: Maps,
        batching: str,
    ) -> Result:
        method, anatomy = asked.method, self.anatomy(asked.x)
        doubt = anatomy.doubt(layers[0]) if method.finds_layer else ""
        warned = maps.warned(doubt).warned(reading.warning if method.needs_target else "")
        kinds = tuple(reading.called(target) for target in targets)
        return Result(warned, targets, scores, kinds, layers, reading.tensor, batching)

    def _reading(self, asked: Request) -> Reading:
        anatomy = self.anatomy(asked.x)
        tensor = self._score.probability
        shape = anatomy.shapes.get(tensor, (1,))
        return read(self._score, asked.method.score, anatomy.class_axis, shape)

    def _expected(self, asked: Request, shape: tuple[int, ...]) -> list[Target] | None:
        """The targets, where they can be told without the answer, or its largest scores suffice."""
        if not is_one_number_per_class(shape[1:]):
            return None
        answered = Unanswered(np.zeros(shape, np.float32), self._labels())
        specs = self._specs(asked, answered)
        found = [target for spec in specs for target in resolve(spec, answered)]
        if not found:
            raise _none()
        return found

    def _specs(self, asked: Request, answered: Answered) -> list[TargetSpec]:
        if asked.method.needs_target or answered.has_classes:
            return list(asked.targets)
        return [NoClass() if asks_for_the_top(spec) else spec for spec in asked.targets]

    def _resolved(self, asked: Request, reading: Reading, values: Array) -> list[Target]:
        flat = is_one_number_per_class(values.shape[1:])
        axis = None if flat else self.anatomy(asked.x).class_axis(reading.tensor)
        scores = reading.answers(values) if flat or axis is not None else values
        threshold = None if axis is None else reading.threshold(scores, axis)
        answered = Answered(scores, self._labels(), axis, threshold, asked.placement)
        specs = self._specs(asked, answered)
        targets = [target for spec in specs for target in resolve(spec, answered)]
        if not targets:
            raise _none()
        if asked.single and len(targets) > 1:
            raise _several(asked, len(targets))
        return targets


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A sample, and what is known of it before its pass.

    `targets` are those of the request, or classes that the graph is to find by their rank;
    `plain_runs` of the model were needed to tell, which gave the `activation` of the layer too,
    where the pass can start from it.
    """

    asked: Request
    method: SinglePassMethod
    scene: Scene
    reading: Reading
    layers: Sequence[Layer]
    class_weights: FloatArray | None
    targets: Sequence[Target]
    shape: tuple[int, ...]
    plain_runs: int
    activation: Array | None

    @property
    def own(self) -> Sequence[Target]:
        """The targets that the graph is fed; one, where the map is the same for all."""
        return self.targets if self.method.needs_target else self.targets[:1]

    def passed(self, some: Sequence[int]) -> Pass:
        """The pass for some of the targets."""
        scored = Scored(self.reading, self.shape, [self.own[i] for i in some])
        return Pass(self.method, scored, self.layers, self.class_weights)

    def explained(self, some: Sequence[int] | None = None) -> Explained:
        """The sample and its targets, by default all."""
        own = self.own if some is None else [self.own[i] for i in some]
        return Explained(self.scene, own, self.activation)

    @staticmethod
    def shared_by(ready: _Prepared | OnnxplainError) -> Hashable | None:
        """Samples of equal keys go into one graph; None for what is an error."""
        if isinstance(ready, OnnxplainError):
            return None
        families = tuple(target.family(ready.shape[1:]) for target in ready.own)
        tensors = tuple(layer.tensor for layer in ready.layers)
        return ready.reading.key, ready.shape, tensors, ready.activation is None, *families


def _alike(asked: Sequence[Request]) -> Iterator[list[Request]]:
    """Runs of requests for samples of one shape, by one method, beside the same other inputs."""
    for _, some in groupby(asked, key=lambda one: (one.x.shape, id(one.method), id(one.others))):
        yield list(some)


def attempted(
    call: Callable[Arguments, Found], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Found | OnnxplainError:
    """What a call gives, or the error that it raises."""
    try:
        return call(*arguments, **named)
    except OnnxplainError as error:
        return error


def joined(parts: Sequence[Computed | MapError], repeats: int, plain_runs: int) -> Computed:
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
        np.repeat(np.concatenate(own), repeats, axis=0)
        for own in zip(*(part.values for part in found), strict=True)
    ]
    reports = [
        {name: np.repeat(np.concatenate([one[name] for one in own]), repeats) for name in own[0]}
        for own in zip(*(part.reports for part in found), strict=True)
    ]
    return Computed(values, reports, plain_runs)


def _none() -> TargetError:
    return TargetError("There are no targets: name a class, or 'top1'.")


def _several(asked: Request, count: int) -> TargetError:
    return TargetError(
        f"{asked.targets[0]!r} means {count} targets where one is explained: name one, or use "
        "explain_each."
    )
