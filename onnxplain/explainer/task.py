"""What is common to all samples of one shape that one method explains."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import MapError
from onnxplain.execution.answers import Reading
from onnxplain.execution.model_structure import ModelStructure
from onnxplain.execution.points import target_chunks
from onnxplain.execution.scoring import Scored
from onnxplain.explainer.request import Request, Result
from onnxplain.images.labels import Labels
from onnxplain.methods.base import Maps, Method, SinglePassMethod
from onnxplain.model.shapes import Shape
from onnxplain.recent import Recent
from onnxplain.targets import Answered, NoClass, Target, resolve
from onnxplain.targets.answer_shape import is_one_number_per_class
from onnxplain.targets.answered import Named, Unanswered
from onnxplain.targets.combination import Combination
from onnxplain.targets.parse import asks_for_the_top, needs_answer
from onnxplain.tensors import Array, FloatArray

_TARGETS_KEPT = 64


@dataclass(frozen=True, eq=False)
class ScoredTargets:
    """Targets, and how graphs score them.

    `shape` is the shape of the answer for one sample, (1, ...). Targets may be ranks, such as the
    class with the largest score. `own` are the targets that get a separate map.
    """

    reading: Reading
    shape: Shape
    targets: Sequence[Target]
    own: Sequence[Target]

    @functools.cached_property
    def groups(self) -> Sequence[Scored]:
        """The targets that get a separate map, in groups; each group has one graph."""
        return [
            Scored(self.reading, self.shape, [self.own[i] for i in some])
            for some in target_chunks(len(self.own))
        ]

    @functools.cached_property
    def key(self) -> Hashable:
        """Samples whose scored targets have equal keys can share their graphs."""
        return tuple(scored.key for scored in self.groups)


@dataclass(frozen=True, eq=False)
class Task:
    """A method and samples of one shape.

    `method` represents all methods with its key. `sizes` are the shapes of a sample and of the
    other inputs. `reading` says how scores are read, as far as this is known without an answer.
    `layers` are the layers that the method reads. `labels` is called when a target is resolved.
    `embedding` says why the answer is an embedding; empty if it is none.
    `named` is called with the scores of a sample if its targets are not classes; then it says what
    their text means. `warning` is one about the model that holds for every map.
    """

    method: Method
    sizes: tuple[Hashable, ...]
    structure: ModelStructure
    reading: Reading
    layers: Sequence[Layer]
    labels: Callable[[], Labels | None]
    embedding: str = ""
    named: Callable[[Array], Named] | None = None
    warning: str = ""
    _expected: Recent[ScoredTargets] = field(default_factory=lambda: Recent(_TARGETS_KEPT))

    @functools.cached_property
    def shape(self) -> Shape | None:
        """The shape of the answer for one sample, (1, ...), if it is one number per class.

        None if it is not, or if the shape is known only after a run.
        """
        if self.named is not None:
            return None
        shape = self.structure.shapes.get(self.reading.tensor)
        # The only axis may be that of the classes: a run tells.
        if shape is None or len(shape) < 2 or not is_one_number_per_class(shape[1:]):
            return None
        return 1, *shape[1:]

    @property
    def class_weights(self) -> FloatArray | None:
        """The linear classifier's weights, (classes, channels), if the method reads them."""
        if not (isinstance(self.method, SinglePassMethod) and self.method.reads_classifier):
            return None
        return self.structure.classifier().matrix(self.layers[0].channels)

    def scored_targets(
        self, reading: Reading, shape: Shape, targets: Sequence[Target]
    ) -> ScoredTargets:
        """These targets as scored ones; they share one map if the method needs no target."""
        own = targets if self.method.needs_target else targets[:1]
        return ScoredTargets(reading, shape, targets, own)

    def expected(self, asked: Request, shape: Shape) -> ScoredTargets:
        """The targets of a request, made before the answer, which has one number per class.

        Raises:
            OnnxplainError: as `targets.resolve`.
        """

        def made() -> ScoredTargets:
            scores, shapes = np.zeros(shape, np.float32), self.reading.shapes(shape)
            answered = Unanswered(scores, self.labels(), shapes=shapes, embedding=self.embedding)
            targets = self._meant(asked, answered)
            return self.scored_targets(self.reading, shape, targets)

        if any(isinstance(spec, Target) for spec in asked.targets):
            return made()
        return self._expected.get(tuple(map(str, asked.targets)), made)

    def resolved(self, asked: Request, answered: Answered) -> list[Target]:
        """The targets of a request; `answered` is the answer for its sample.

        Raises:
            OnnxplainError: as `targets.resolve`.
        """
        targets = self._meant(asked, answered)
        asked.check(targets)
        return targets

    def _meant(self, asked: Request, answered: Answered) -> list[Target]:
        specs = asked.targets
        if not (asked.method.needs_target or answered.has_classes):
            specs = [NoClass() if asks_for_the_top(spec) else spec for spec in specs]
        return [target for spec in specs for target in resolve(spec, answered)]

    def answered(self, asked: Request, reading: Reading, values: Array) -> Answered:
        """What is known about the answer for a sample."""
        shapes = reading.shapes(values.shape)
        if self.named is not None:
            return Answered(values, shapes=shapes, named=self.named(reading.real(values)))
        flat = is_one_number_per_class(values.shape[1:])
        found = None if flat else self.structure.answer_map
        axis = None if found is None else found.channels
        scores = reading.answers(values) if flat or axis is not None else values
        is_picture = found is not None and found.kind == "picture"
        return Answered(
            scores,
            None if is_picture else self.labels(),
            None if is_picture else axis,
            None if axis is None else reading.threshold(scores, axis),
            asked.placement,
            shapes,
            self.embedding,
            answer_map=found,
            probabilities=reading.probabilities(values) if flat else None,
        )

    def result(
        self,
        asked: Request,
        reading: Reading,
        answered: Answered,
        targets: list[Target],
        scores: FloatArray,
        maps: Maps,
        batching: str = "",
    ) -> Result:
        """The result of a sample, with warnings about its layer, its scores and its labels."""
        method, layers = asked.method, self.layers
        warning = self.structure.warning(layers[0]) if method.finds_layer else ""
        of_scores = method.needs_target and any(target.own_kind is None for target in targets)
        warned = (
            maps.warned(self.warning).warned(warning).warned(reading.warning if of_scores else "")
        )
        if answered.probabilities is not None and any(map(needs_answer, asked.targets)):
            warned = warned.warned(answered.probabilities.warning)
        if method.weights_channels and any(target.at_one_place for target in targets):
            warned = warned.warned(
                f"{method.name} has one weight for each channel, so its map is not limited to the "
                "place of what is explained: use hirescam, odam or layercam."
            )
        kinds = tuple(reading.kind_of(target) for target in targets)
        about_labels = answered.warning if of_scores else ""
        return Result(
            warned,
            targets,
            scores,
            kinds,
            layers,
            reading.called,
            batching,
            about_labels,
            answered.top_class,
            _has_places(answered, targets),
        )


def _has_places(answered: Answered, targets: Sequence[Target]) -> bool:
    """Whether the answer has places, or a target is read at one of several boxes."""
    flat = is_one_number_per_class(answered.values.shape[1:])
    parts = [p for one in targets for p in (one.parts if isinstance(one, Combination) else [one])]
    return not flat or any(part.at_one_place for part in parts)


def finite_scores(
    method: Method, reading: Reading, values: Array, targets: Sequence[Target]
) -> FloatArray:
    """Scores of the targets, (targets,), from `values`, the answer for one sample.

    Raises:
        MapError: a score is not finite, and the method needs it.
    """
    scores: FloatArray = reading.scores(values, targets)[0]
    if method.needs_target and not np.isfinite(scores).all():
        raise MapError(
            "The model's score for this input is NaN or infinite: check its values, and the "
            "preprocessing if it is a picture."
        )
    return scores
