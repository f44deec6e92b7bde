"""Measure methods by metrics over several inputs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from onnxplain.errors import BuiltGraphError, OnnxplainError, OutputError, TargetError, attempted
from onnxplain.explainer import Explainer, Picture
from onnxplain.images.annotations import Annotations
from onnxplain.methods.base import Method
from onnxplain.metrics.annotated import inside as inside_class
from onnxplain.metrics.judged import Case, Judged
from onnxplain.metrics.metric import Metric
from onnxplain.metrics.records import Record, RecordFile
from onnxplain.results.formats.manifest import plain
from onnxplain.tensors import Array


@dataclass(frozen=True)
class Measurable:
    """An input: its file, which of its samples, and what the explainer takes."""

    path: Path
    source: str
    given: Picture

    @functools.cached_property
    def content(self) -> str:
        """sha256 of the file."""
        return sha256(self.path.read_bytes()).hexdigest()


Heat = Callable[[tuple[int, ...]], Array]
"""Makes a reference map from the sizes of the places."""


def centered_blob(places: tuple[int, ...]) -> Array:
    """A Gaussian in the middle, with a sigma of a quarter of each side: no model was asked."""
    found: Array = np.zeros(places)
    for axis, size in enumerate(places):
        middle = (np.arange(size) + 0.5) / size - 0.5
        shape = [-1 if i == axis else 1 for i in range(len(places))]
        found = found - (middle.reshape(shape) / 0.25) ** 2 / 2
    return np.exp(found)


def noise(places: tuple[int, ...]) -> Array:
    """Uniform noise, always the same."""
    return np.random.default_rng(0).random(places)


REFERENCES: Mapping[str, Heat] = {"centered_blob": centered_blob, "noise": noise}
"""Maps that know nothing of the model, which a method should do better than."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is measured: methods and reference maps, by metrics, for one target of each input.

    `annotations` say where objects are.
    """

    explainer: Explainer
    methods: Sequence[Method]
    metrics: Sequence[Metric]
    target: str
    references: Sequence[str] = tuple(REFERENCES)
    annotations: Annotations | None = None

    @property
    def names(self) -> list[str]:
        """The names of methods and of reference maps, in order."""
        return [*(method.name for method in self.methods), *self.references]

    def run(self, inputs: Sequence[Measurable], file: RecordFile) -> Iterator[Record]:
        """Yield the record of each input, method and metric; what the file holds is not repeated.

        A method or metric that refuses gives a record with its reason.

        Raises:
            OnnxplainError: the records cannot be written, or ONNX Runtime refuses a graph.
        """
        for one in inputs:
            yield from self._of_input(one, file)

    def _of_input(self, one: Measurable, file: RecordFile) -> Iterator[Record]:
        cases = functools.cache(lambda: attempted(self._case, one))
        makers: list[tuple[str, Method | None]] = [
            *((method.name, method) for method in self.methods),
            *((name, None) for name in self.references),
        ]
        for name, method in makers:
            drafts = [self._draft(one, name, method, metric) for metric in self.metrics]
            made: Judged | OnnxplainError | None = None
            seconds = 0.0
            for metric, draft in zip(self.metrics, drafts, strict=True):
                known = file.find(draft.key)
                if known is not None:
                    yield known
                    continue
                if made is None:
                    case = cases()
                    began = time.perf_counter()
                    made = attempted(_made, case, name, method)
                    seconds = time.perf_counter() - began
                    if isinstance(made, BuiltGraphError | OutputError):
                        raise made
                record = _measured(metric, draft, made, seconds)
                file.add(record)
                yield record

    def _case(self, one: Measurable) -> Case:
        case = Case.of(self.explainer, one.given, self.target)
        if self.annotations is None:
            return case
        size = case.taken.picture.shape[:2]
        inside = attempted(inside_class, self.annotations, one.path, size, case.target.described)
        if isinstance(inside, TargetError):
            return case  # the object is not in this picture: metrics of places have no value
        if isinstance(inside, OnnxplainError):
            raise inside
        return Case(case.explainer, case.taken, case.target, inside)

    def _draft(self, one: Measurable, name: str, method: Method | None, metric: Metric) -> Record:
        """The record without a value."""
        return Record(
            model=self.explainer.model.sha256,
            input=one.source,
            content=one.content,
            target=self.target,
            explained="",
            method=name,
            method_options={} if method is None else plain(method.options()),
            metric=metric.name,
            metric_options=plain(metric.options()),
            value=None,
            annotations="" if self.annotations is None else str(self.annotations.path),
        )


def _made(case: Case | OnnxplainError, name: str, method: Method | None) -> Judged:
    if isinstance(case, OnnxplainError):
        raise case
    if method is None:
        return case.of_heat(name, REFERENCES[name](case.scene.places))
    return case.explained(method)


def _measured(
    metric: Metric, draft: Record, made: Judged | OnnxplainError, seconds: float
) -> Record:
    """The record of a metric."""
    if isinstance(made, OnnxplainError):
        return _with(draft, reason=str(made))
    case = made.case
    case.spent.clear()
    began = time.perf_counter()
    found = attempted(metric.measure, made)
    own = {**case.spent, "seconds": time.perf_counter() - began}
    known = {
        "explained": case.target.name,
        "map_cost": {**made.cost, "seconds": seconds},
        "metric_cost": own,
    }
    if isinstance(found, OnnxplainError):
        return _with(draft, reason=str(found), **known)
    return _with(draft, value=found.value, **known)


def _with(draft: Record, **values: object) -> Record:
    return Record(**{**vars(draft), **values})
