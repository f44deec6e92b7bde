"""A model and what is known about it, asked to explain samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.analysis.score import ScoreTensor
from onnxplain.errors import MapError, TargetError
from onnxplain.execution.answers import Answer, answer
from onnxplain.execution.derivatives import Derivatives
from onnxplain.execution.model_structure import ModelAnatomy
from onnxplain.execution.runner import Runner
from onnxplain.execution.sample import Sample
from onnxplain.execution.samples import Samples
from onnxplain.images.geometry import Placement
from onnxplain.images.labels import Labels
from onnxplain.methods.base import Maps, Method
from onnxplain.targets import Answered, NoClass, Target, TargetSpec, resolve
from onnxplain.targets.kinds import is_one_number_per_class
from onnxplain.targets.specs import asks_for_the_top
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True, eq=False)
class Question:
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
class Attributed:
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
        self._anatomies: dict[Hashable, ModelAnatomy] = {}

    def anatomy(self, x: Array | None = None) -> ModelAnatomy:
        """The model's layers for samples of the shape of `x`, by default that of pictures."""
        sample = self._samples.noise() if x is None else x
        others = {name: value.shape for name, value in self._runner.others.items()}
        key = sample.shape, *sorted(others.items())
        if key not in self._anatomies:
            self._anatomies[key] = ModelAnatomy(
                self._runner, sample, self._score.logit, self._labels
            )
        return self._anatomies[key]

    def targets(self, asked: Question) -> list[Target]:
        """What the targets of a question mean for its sample."""
        self._runner.others = dict(asked.others)
        reading = self._reading(asked)
        (values,) = self._runner.forward(asked.x, [reading.tensor])
        return self._resolved(asked, reading.settled(values), values)

    def explain(self, asked: Question) -> Attributed:
        """Explain a sample."""
        self._runner.others = dict(asked.others)
        anatomy, method = self.anatomy(asked.x), asked.method
        reading = self._reading(asked)
        layers = method.look_at(anatomy)
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
            anatomy,
            list(zip(layers, found[1:], strict=True)),
            self._derivatives,
        )
        if method.needs_target and not np.isfinite(sample.scores).all():
            raise MapError(
                "The model's score for this input is NaN or infinite: check its values, and the "
                "preprocessing if it is a picture."
            )
        maps = method.maps(sample)
        maps = maps.warned(anatomy.doubt(layers[0]) if method.finds_layer else "")
        maps = maps.warned(reading.warning if method.needs_target else "")
        kinds = tuple(reading.called(target) for target in targets)
        return Attributed(maps, targets, sample.scores, kinds, layers, reading.tensor, sample.how)

    def _reading(self, asked: Question) -> Answer:
        return answer(self._score, asked.method.score, self.anatomy(asked.x).class_axis)

    def _resolved(self, asked: Question, reading: Answer, values: Array) -> list[Target]:
        flat = is_one_number_per_class(values.shape[1:])
        axis = None if flat else self.anatomy(asked.x).class_axis(reading.tensor)
        scores = reading.finish.forth(values) if flat or axis is not None else values
        threshold = None if axis is None else reading.threshold(scores, axis)
        answered = Answered(scores, self._labels(), axis, threshold, asked.placement)
        specs = asked.targets
        if not (asked.method.needs_target or answered.has_classes):
            specs = [NoClass() if asks_for_the_top(spec) else spec for spec in specs]
        targets = [target for spec in specs for target in resolve(spec, answered)]
        if not targets:
            raise TargetError("There are no targets: name a class, or 'top1'.")
        if asked.single and len(targets) > 1:
            raise TargetError(
                f"{specs[0]!r} means {len(targets)} targets where one is explained: name one, or "
                "use explain_each."
            )
        return targets
