"""What the server's one worker does with an explainer: explain and predict for several requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxplain.errors import MapError, NotInPictureError, OnnxplainError, attempted
from onnxplain.explainer import Explainer
from onnxplain.methods.base import Method, SinglePassMethod
from onnxplain.results.explanation import Explanation
from onnxplain.serve.predictor import Feeds, Outputs, Predictor
from onnxplain.targets import TargetSpec
from onnxplain.tensors import Array

Given = bytes | Array
"""The file of a picture, or an array (1, ...) in the form of the model's input."""


@dataclass(frozen=True, eq=False)
class Explain:
    """One instance to explain."""

    given: Given
    target: TargetSpec
    kind: ClassVar[str] = "explain"


@dataclass(frozen=True, eq=False)
class Predict:
    """One instance to predict."""

    given: Given
    kind: ClassVar[str] = "predict"


@dataclass(frozen=True, eq=False)
class Infer:
    """Samples (N, ...) of the explained input, and values of others by name, to predict as sent."""

    x: Array
    others: Feeds
    kind: ClassVar[str] = Predict.kind


Work = Explain | Predict | Infer
Outcome = Explanation | Outputs | OnnxplainError


class Engine:
    """Explains with one method, and predicts. It must be used by one thread at a time."""

    def __init__(
        self,
        explainer: Explainer,
        method: Method,
        target: TargetSpec,
        max_batch: int = 32,
    ) -> None:
        """Open the sessions, and try the method, so that the first request is not slow.

        `target` is the one of requests that name none. `max_batch` is the largest number of samples
        of a prediction in one run.

        Raises:
            OnnxplainError: the method cannot explain the model.
        """
        self.explainer = explainer
        self.method = method
        self.target = target
        model, spec = explainer.whole_model, explainer.input
        self._predictor = Predictor(model, spec, explainer.backend, max_batch)
        self._calls: Mapping[str, Callable[[Sequence[Any]], Iterator[Outcome]]] = {
            Explain.kind: self._explained,
            Predict.kind: self._predicted,
        }
        self._try()

    @property
    def in_batches(self) -> bool:
        """Whether several instances are explained faster in one call."""
        return isinstance(self.method, SinglePassMethod)

    def run(self, works: Sequence[Work]) -> Iterator[Outcome]:
        """The outcome of each, in order, as soon as it is known; all are of one kind."""
        return self._calls[works[0].kind](works)

    def _explained(self, works: Sequence[Explain]) -> Iterator[Outcome]:
        targets = [work.target for work in works]
        return self.explainer.try_own([work.given for work in works], targets, self.method)

    def _predicted(self, works: Sequence[Predict | Infer]) -> Iterator[Outcome]:
        feeds = [attempted(self._feeds, work) for work in works]
        found = self._predictor.outputs(
            [one for one in feeds if not isinstance(one, OnnxplainError)]
        )
        for one in feeds:
            yield one if isinstance(one, OnnxplainError) else next(found)

    def _feeds(self, work: Predict | Infer) -> Feeds:
        name = self.explainer.input.name
        if isinstance(work, Infer):
            return {**self.explainer.other_values(work.x), **work.others, name: work.x}
        (x,) = self.explainer.samples([work.given])
        return {**self.explainer.other_values(x), name: x}

    def _try(self) -> None:
        trial = self.explainer.trial
        for found in (*self.run([Explain(trial, self.target)]), *self.run([Infer(trial, {})])):
            # In noise there may be nothing to explain, or to find.
            known = isinstance(found, MapError | NotInPictureError)
            if isinstance(found, OnnxplainError) and not known:
                raise found
