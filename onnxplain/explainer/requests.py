"""Explain samples with one model, and cache what is found out about the model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

import numpy as np

from onnxplain.analysis.score import ScoreTensor
from onnxplain.analysis.sequence import RANK
from onnxplain.errors import ModelError, OnnxplainError, OptionError, TargetError, attempted
from onnxplain.execution.answers import ClassAxis, Reading, read, read_output, read_plain
from onnxplain.execution.derivatives import Derivatives
from onnxplain.execution.model_structure import ModelStructure
from onnxplain.execution.randomness import Randomness
from onnxplain.execution.runner import Batching, Runner
from onnxplain.execution.sample import Sample
from onnxplain.execution.samples import Samples
from onnxplain.execution.scoring import Scored
from onnxplain.explainer.answer_facts import AnswerFacts
from onnxplain.explainer.augmented import Average
from onnxplain.explainer.detector import Detector
from onnxplain.explainer.passes import prepared, run_prepared
from onnxplain.explainer.planned import C, Planned
from onnxplain.explainer.recognizer import Recognizer, require_samples_first
from onnxplain.explainer.request import Request, Result
from onnxplain.explainer.sampled import explain_by_samples
from onnxplain.explainer.single_pass import Prepared, SinglePass, check_linear
from onnxplain.explainer.size_errors import naming_multiples
from onnxplain.explainer.task import Task, finite_scores
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import SinglePassMethod
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.recent import Recent
from onnxplain.targets import Answered, Target
from onnxplain.targets.recognized import Recognized
from onnxplain.tensors import Array
from onnxplain.transforms.detections import BOXES
from onnxplain.transforms.extract import ending_in
from onnxplain.transforms.fixed_batch import with_batch
from onnxplain.transforms.joined import JOINED, with_joined

_SHAPES_KEPT = 16
"""Number of sample shapes to keep: a model that takes any size may get many sizes."""

_TASKS_KEPT = 64

_READINGS_KEPT = 4


@dataclass(frozen=True, eq=False)
class _Begun:
    """A sample and its targets after its own run; `values` is what the reading's tensor holds."""

    task: Task
    reading: Reading
    answered: Answered
    targets: list[Target]
    values: Array
    sample: Sample


class ExplainedModel:
    """Explains samples, and keeps what was found out about the model for each sample shape.

    `facts` are asked when they are needed. `reads` are the tensors that targets read, concatenated
    into one score tensor; empty if targets read only the tensor of the scores. `recognizer` is the
    text recognizer whose scores are explained; None for other models.
    """

    def __init__(
        self,
        runner: Runner,
        samples: Samples,
        score: ScoreTensor,
        facts: AnswerFacts,
        reads: Sequence[str] = (),
        recognizer: Recognizer | None = None,
    ) -> None:
        self._runner = runner
        self._samples = samples
        self._score = score
        self._facts = facts
        self._reads = reads
        self._own_recognizer = recognizer
        self._derivatives = Derivatives(runner, lambda x: self.structure(x).held)
        self._graphs = SinglePass(runner, self._derivatives)
        self._structures: Recent[ModelStructure] = Recent(_SHAPES_KEPT)
        self._tasks: Recent[Task] = Recent(_TASKS_KEPT)
        self._readings: Recent[ExplainedModel] = Recent(_READINGS_KEPT)

    @functools.cached_property
    def detector(self) -> Detector | None:
        """The model as a detector; None if it is none."""
        return self._facts.detector()

    @functools.cached_property
    def recognizer(self) -> Recognizer | None:
        """The model as a text recognizer; None if it is none."""
        return None if self.detector is not None else self._facts.recognizer()

    @property
    def of_text(self) -> ExplainedModel:
        """The explained model for targets that are given as text: boxes, if it is a detector."""
        return self._reading(() if self.detector is None else self.detector.reads)

    @functools.cached_property
    def _of_scores(self) -> ExplainedModel:
        """The explained model for targets that read the scores: with the samples first."""
        found = self.recognizer
        if found is None:
            return self
        facts = AnswerFacts(labels=self._facts.labels)
        return ExplainedModel(found.runner, self._samples, found.score, facts, recognizer=found)

    def batching(self, x: Array | None = None) -> Batching:
        """How several samples are run, tested on the sample `x`, by default a picture of noise.

        What is read is the scores, or the boxes if the model is a detector: its outputs may have no
        batch axis.
        """
        own = self.of_text
        sample = self._samples.noise() if x is None else x
        return own._runner.batching(sample, [own._score.probability])

    def randomness(self, x: Array | None = None) -> Randomness:
        """What makes answers for one sample differ; `x` is one, by default a picture of noise."""
        own = self.of_text
        sample = self._samples.noise() if x is None else x
        return own._runner.randomness(sample, [own._score.probability])

    def check_repeats(self) -> None:
        """Check that two runs of a sample of noise give the same answer.

        Raises:
            ModelError: they do not; the message names the nodes that may be the cause.
        """
        own, sample = self.of_text, self._samples.noise()
        tensors = [own._score.probability]
        if not own._runner.repeats(sample, tensors):
            cause = own._runner.randomness(sample, tensors).cause or "answers differently each time"
            raise ModelError(
                f"Also with --fix-random (fix_random=True) the model {cause}: it replaces the "
                "draws of standard operators only, so export the model in inference mode."
            )

    @property
    def score(self) -> ScoreTensor:
        """The tensor of the scores."""
        return self._score

    @property
    def model(self) -> Model:
        """The model with the tensor of the scores."""
        return self._runner.model

    def structure(self, x: Array | None = None) -> ModelStructure:
        """The model's layers for samples of the shape of `x`, by default of pictures."""
        sample = self._samples.noise() if x is None else x
        return self._structures.get(self._sizes(sample), lambda: self._structure_for(sample))

    def _structure_for(self, x: Array) -> ModelStructure:
        runner, labels = self._runner, self._facts.labels
        with naming_multiples(self.model, runner.spec, self._samples, x.shape):
            return ModelStructure(runner, x, self._score, labels, lambda: self._derivatives.ready)

    @property
    def lowered(self) -> Model:
        """The model in the form that rules of gradients are written for.

        Raises:
            GradientError: it cannot be brought into that form.
        """
        return self._derivatives.ready

    def targets(self, asked: Request) -> list[Target]:
        """What the targets of a request mean for its sample.

        Raises:
            OnnxplainError: as `targets.resolve`.
        """
        asked = self._located(asked)
        model = self._reading(asked.reads)
        task = model._task(asked)
        (values,) = model._runner.forward(asked.x, [task.reading.tensor])
        return task.resolved(asked, task.answered(asked, task.reading.settled(values), values))

    def recognized(self, x: Array, others: Mapping[str, Array]) -> Recognized:
        """The text that is read in a sample, (1, ...), with probabilities as scores.

        Raises:
            TargetError: the model is not known to be a text recognizer.
            PreprocessError: the blank or the labels do not fit the classes.
        """
        found = self.recognizer
        if found is None:
            raise TargetError(
                "The outputs of this model are not known to hold a text: if it is a recognizer "
                "trained with CTC, say which class is the blank, with --blank first, for example."
            )
        own = self._of_scores
        reading = read(found.score, "probability", lambda: RANK - 1, found.shape)
        own._runner.others = others
        (values,) = own._runner.forward(x, [reading.tensor])
        return found.recognized(reading.settled(values).answers(values))

    def planned(
        self,
        asked: Request,
        choose: Callable[[Answered], C],
        reads: tuple[str, ...],
        batch: int | None,
    ) -> tuple[Planned, C]:
        """What the graph of a method computes for samples such as that of the request.

        `choose` returns what is explained, from the answer for it; its target reads the tensors
        `reads`. The graph takes `batch` samples; None means any number, if the model does. What
        `choose` returned is the second result.

        Raises:
            OnnxplainError: the method, its options or the target do not fit the model.
        """
        own = self._joined(reads, self.model.index.outputs) if reads else self._of_scores
        return own._planned(asked, choose, batch)

    def _planned(
        self, asked: Request, choose: Callable[[Answered], C], batch: int | None
    ) -> tuple[Planned, C]:
        task, method = self._task(asked), asked.method
        scene = self._samples.scene(asked.x)
        method.check_sample(scene)
        if isinstance(method, SinglePassMethod):
            method.check_model(task.structure)
        (values,) = self._runner.forward(asked.x, [task.reading.tensor])
        reading = task.reading.settled(values)
        chosen = choose(task.answered(asked, reading, values))
        scored = Scored(reading, (1, *values.shape[1:]), [chosen.target])
        if isinstance(method, SinglePassMethod):
            check_linear(method, scored)
        takes = self._runner.batching(asked.x, [reading.tensor])
        if batch is not None and takes.exact not in (None, batch):
            raise OptionError(
                f"The model takes {takes.exact} samples at a time, not {batch}: {takes.why}."
            )
        model = takes.model
        if batch is not None:
            model = with_batch(model, self._runner.spec.name, batch)
        plan = self._graphs.plan(task, scene, scored, model, batch or takes.exact)
        self._derivatives.prove(reading, asked.x, values)
        return Planned(plan, method, task, scene), chosen

    def explain_many(self, asked: Sequence[Request]) -> Iterator[Result | OnnxplainError]:
        """Yield the result or the error of each request, in order.

        With a single-pass method, samples of one shape run in batches of the fastest size.
        """
        located = [attempted(self._located, one) for one in asked]
        for _, some in groupby(located, key=_shared_by):
            group = list(some)
            requests = [one for one in group if isinstance(one, Request)]
            if not requests:
                yield from (one for one in group if isinstance(one, OnnxplainError))
                continue
            model = attempted(self._reading, requests[0].reads)
            if isinstance(model, OnnxplainError):
                yield from (model for _ in group)
            else:
                yield from model._alike(requests)

    def _located(self, asked: Request) -> Request:
        """The request, with the boxes that its targets mean if the model is a detector."""
        by_text = not all(isinstance(spec, Target) for spec in asked.targets)
        return self.detector.located(asked) if by_text and self.detector else asked

    def _reading(self, reads: tuple[str, ...]) -> ExplainedModel:
        """The explained model for targets that read the tensors `reads`."""
        return self._readings.get(reads, lambda: self._joined(reads)) if reads else self._of_scores

    def _joined(self, reads: tuple[str, ...], outputs: Sequence[str] = ()) -> ExplainedModel:
        """The explained model whose score tensor holds the tensors `reads`.

        It keeps the nodes of `outputs` too.
        """
        detector = self.detector if BOXES in reads else None
        model = self._runner.model if detector is None else detector.runner.model
        runner = self._runner.beside(ending_in(with_joined(model, reads), [JOINED, *outputs]))
        score = ScoreTensor(JOINED, JOINED, "none")
        return ExplainedModel(runner, self._samples, score, AnswerFacts(), reads)

    def _alike(self, asked: Sequence[Request]) -> Iterator[Result | OnnxplainError]:
        """Explain samples of one shape with one method, whose maps may be averaged."""
        if asked[0].method.averages:
            return Average(self._filtered, self._samples.scene).of(asked)
        return self._filtered(asked)

    def _filtered(self, asked: Sequence[Request]) -> Iterator[Result | OnnxplainError]:
        """Explain samples, and do to the values of maps what the method does at the end."""
        for one, found in zip(asked, self._computed(asked), strict=True):
            if isinstance(found, OnnxplainError):
                yield found
                continue
            spatial = self._samples.spatial(one.x)
            values = one.method.filtered(NUMPY, found.maps.values, spatial)
            values = values.astype(np.float32, copy=False)
            yield replace(found, maps=replace(found.maps, values=values))

    def _computed(self, asked: Sequence[Request]) -> Iterator[Result | OnnxplainError]:
        """Explain samples with the formula of the method."""
        if isinstance(asked[0].method, SinglePassMethod):
            ready = [attempted(self._prepared, one) for one in asked]
            yield from run_prepared(self._graphs, ready)
        else:
            for one in asked:
                yield attempted(self._sampled, one)

    def subject(self, asked: Request) -> Sample:
        """The sample of a request and its targets, whose changed copies can be scored.

        The method of the request says only which kind of score is read.

        Raises:
            OnnxplainError: as `targets.resolve`.
        """
        asked = self._located(asked)
        return self._reading(asked.reads)._begun(asked).sample

    def _prepared(self, asked: Request) -> Prepared:
        return prepared(asked, self._task(asked), self._samples.scene(asked.x), self._runner)

    def _sampled(self, asked: Request) -> Result:
        """Explain a sample with a sampled or an adaptive method."""
        begun, method = self._begun(asked), asked.method
        reading, targets, sample = begun.reading, begun.targets, begun.sample
        scores = finite_scores(method, reading, begun.values, targets)
        maps = explain_by_samples(method, sample)
        batching = sample.batching_description
        return begun.task.result(asked, reading, begun.answered, targets, scores, maps, batching)

    def _begun(self, asked: Request) -> _Begun:
        """A sample after its own run, before it is changed."""
        task, method = self._task(asked), asked.method
        scene = self._samples.scene(asked.x)
        method.check_sample(scene)
        values, *activations = self._runner.forward(
            asked.x, [task.reading.tensor, *(layer.tensor for layer in task.layers)]
        )
        reading = task.reading.settled(values)
        answered = task.answered(asked, reading, values)
        targets = task.resolved(asked, answered)
        layers = list(zip(task.layers, activations, strict=True))
        sample = Sample(self._runner, scene, reading, targets, values, layers, self._derivatives)
        return _Begun(task, reading, answered, targets, values, sample)

    def _task(self, asked: Request) -> Task:
        """The task of a request; the runner uses the request's other inputs from now on."""
        self._runner.others = asked.others
        sizes = self._sizes(asked.x)
        return self._tasks.get((asked.method.key, sizes), lambda: self._made(asked, sizes))

    def _made(self, asked: Request, sizes: tuple[Hashable, ...]) -> Task:
        structure, method = self.structure(asked.x), asked.method
        randomness = self._runner.randomness(asked.x, [self._score.probability])
        if method.needs_gradient:
            randomness.check_gradients(method.name)
        embedding = "" if self._reads else self._embedding_of(structure)
        if self._reads:
            reading = self._reading_of_joined(structure)
        else:
            shape = structure.shapes.get(self._score.probability, ())
            samples = len(self._runner.feeds(self.model, asked.x)[self._runner.spec.name])
            require_samples_first(shape, samples, self._score.probability)
            reading = read_plain(self._score) if embedding else self._as_read(asked, shape or (1,))
        layers, own = method.layers(structure), self._own_recognizer
        named = None if own is None else own.recognized
        return Task(
            method,
            sizes,
            structure,
            reading,
            layers,
            self._facts.labels,
            embedding,
            named,
            randomness.warning,
        )

    def _class_axis(self, structure: ModelStructure) -> ClassAxis:
        """Where the classes of an answer are; a text recognizer has them last."""
        return structure.class_axis if self._own_recognizer is None else lambda: RANK - 1

    def _embedding_of(self, structure: ModelStructure) -> str:
        """Why the answer is an embedding; empty if it is none, as a single number."""
        return self._facts.embedding() if prod(structure.answer_shape[1:]) > 1 else ""

    def _reading_of_joined(self, structure: ModelStructure) -> Reading:
        joined = tuple((name, structure.shapes[name][1:]) for name in self._reads)
        return Reading(self._score.logit, "logit", "none", joined=joined)

    def _as_read(self, asked: Request, shape: Shape) -> Reading:
        """How the answer is read: as scores of classes, or as it is where they may be none."""
        structure, own = self.structure(asked.x), self._own_recognizer
        if own is None and structure.answer_map is not None and structure.class_axis() is None:
            return read_output(self._score)
        return read(self._score, asked.method.score, self._class_axis(structure), shape)

    def _sizes(self, x: Array) -> tuple[Hashable, ...]:
        """Shapes of a sample and of the other inputs, as a key."""
        others = self._runner.others
        return x.shape, *sorted((name, value.shape) for name, value in others.items())


def _shared_by(asked: Request | OnnxplainError) -> Hashable:
    """A key: requests with equal keys have the same method and samples of the same shape."""
    if isinstance(asked, OnnxplainError):
        return id(asked)
    return asked.reads, asked.x.shape, id(asked.method), id(asked.others)
