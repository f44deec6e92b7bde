"""What the server's one worker does with an explainer: explain and predict for several requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxplain.errors import MapError, NotInPictureError, OnnxplainError, attempted
from onnxplain.explainer import Explainer
from onnxplain.methods.base import Method, SinglePassMethod
from onnxplain.results.explanation import Explanation
from onnxplain.serve.predictor import Outputs, Predictor
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
    """One instance to predict, or samples (N, ...); `feeds` are values of other inputs by name."""

    given: Given
    feeds: Mapping[str, Array]
    is_prepared: bool = False
    kind: ClassVar[str] = "predict"


Work = Explain | Predict
Outcome = Explanation | Outputs | OnnxplainError


class Engine:
    """Explains with one method, and predicts. It must be used by one thread at a time."""

    def __init__(
        self, explainer: Explainer, method: Method, target: TargetSpec, provider: str
    ) -> None:
        """Open the sessions, and try the method, so that the first request is not slow.

        `target` is the one of requests that name none.

        Raises:
            OnnxplainError: the method cannot explain the model.
        """
        self.explainer = explainer
        self.method = method
        self.target = target
        self._predictor = Predictor(explainer.whole_model, explainer.input, provider)
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

    def _predicted(self, works: Sequence[Predict]) -> Iterator[Outcome]:
        samples = [attempted(self._sample, work) for work in works]
        feeds = [
            {**self.explainer.other_values(x), **work.feeds, self.explainer.input.name: x}
            for work, x in zip(works, samples, strict=True)
            if not isinstance(x, OnnxplainError)
        ]
        found = self._predictor.outputs(feeds)
        for x in samples:
            yield x if isinstance(x, OnnxplainError) else next(found)

    def _sample(self, work: Predict) -> Array:
        if work.is_prepared:
            assert not isinstance(work.given, bytes)
            return work.given
        (sample,) = self.explainer.samples([work.given])
        return sample

    def _try(self) -> None:
        trial = self.explainer.trial
        for count in (1, 2) if self.in_batches else (1,):
            for found in self.run([Explain(trial, self.target)] * count):
                # In noise there may be nothing to explain, or to find.
                if isinstance(found, OnnxplainError) and not isinstance(
                    found, MapError | NotInPictureError
                ):
                    raise found
        for found in self.run([Predict(trial, {}, is_prepared=True)]):
            if isinstance(found, OnnxplainError):
                raise found
