"""Explain many pictures with one method, in order, with work on threads before and after."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, repeat
from typing import Generic

from onnxplain.errors import MapError, OnnxplainError, attempted
from onnxplain.explainer.intake import Intake
from onnxplain.explainer.other_inputs import OtherInputs
from onnxplain.explainer.picture import Explaining, Made
from onnxplain.explainer.pipeline import AHEAD, WORKERS, chunks, pipeline
from onnxplain.explainer.request import Request, Result, several
from onnxplain.explainer.requests import ExplainedModel
from onnxplain.explainer.spent import Spent
from onnxplain.explainer.taken import Picture, Taken
from onnxplain.methods.base import SinglePassMethod
from onnxplain.results.names import UniqueNames
from onnxplain.targets import TargetSpec
from onnxplain.targets.parse import reads_of

_CHUNK = 32
"""Number of pictures that are prepared before the model runs on them."""

Runs = Sequence[list[TargetSpec]]
"""The targets of a picture, in groups that read the same tensors."""

Computed = tuple[Taken | OnnxplainError, list[Result | OnnxplainError]]
"""A picture, and the result for each group of targets that read the same tensors."""

Explained = list[Made | MapError] | OnnxplainError
"""The explanations of a picture, with an error for each that shows nothing, or its error."""


@dataclass(frozen=True, eq=False)
class ManyPictures(Generic[Made]):
    """Explains pictures for `targets`; with `single`, they must mean one target."""

    model: ExplainedModel
    intake: Intake
    others: OtherInputs
    explaining: Explaining[Made]
    targets: list[TargetSpec]
    spent: Spent
    single: bool = False
    workers: int = WORKERS

    def explain(self, pictures: Iterable[Picture]) -> Generator[Explained[Made]]:
        """The explanations of each picture, in order.

        Raises:
            TargetError: there are several targets, but `single` is set.
        """
        runs = by_what_they_read(self.targets)
        if self.single and len(runs) > 1:
            raise several(runs[0][0], sum(map(len, runs)))
        given = pictures if self.single else self.intake.each(pictures)
        return self._in_order(given, repeat(runs))

    def explain_own(
        self, pictures: Iterable[Picture], own: Iterable[TargetSpec]
    ) -> Generator[Explained[Made]]:
        """The explanation of each picture for its own target, in order; `targets` are not used."""
        return self._in_order(pictures, ([[spec]] for spec in own))

    def _in_order(
        self, pictures: Iterable[Picture], runs: Iterable[Runs]
    ) -> Generator[Explained[Made]]:
        """The explanations of each picture for its own targets; all have as many groups of them."""
        # Methods with many runs take long, so each result is returned as soon as it is ready.
        in_batches = isinstance(self.explaining.method, SinglePassMethod)
        size, ahead = (_CHUNK, AHEAD) if in_batches else (1, 0)
        names = UniqueNames()

        def computed(taken: Iterable[Taken | OnnxplainError]) -> Iterator[Computed]:
            for some in chunks(zip(taken, runs, strict=False), size):
                yield from self._computed([(_named(one, names), own) for one, own in some])

        return pipeline(pictures, self._taken, computed, self._explained, ahead, self.workers)

    def _taken(self, picture: Picture) -> Taken | OnnxplainError:
        with self.spent.on("read"):
            return attempted(self.intake.take, picture)

    def _computed(self, some: Sequence[tuple[Taken | OnnxplainError, Runs]]) -> Iterator[Computed]:
        pictures = [(one, runs) for one, runs in some if isinstance(one, Taken)]
        results = [
            self.model.explain_many([self._asked(one, runs[i]) for one, runs in pictures])
            for i in range(len(some[0][1]))
        ]
        for one, _ in some:
            with self.spent.on("model"):
                found = [next(own) for own in results if isinstance(one, Taken)]
            yield one, found

    def _asked(self, one: Taken, specs: Sequence[TargetSpec]) -> Request:
        method, others = self.explaining.method, self.others.of(one.x)
        return Request(one.x, method, specs, others, one.placement, self.single)

    def _explained(self, computed: Computed) -> Explained[Made]:
        with self.spent.on("map"):
            return self._explanations(*computed)

    def _explanations(
        self, picture: Taken | OnnxplainError, results: Sequence[Result | OnnxplainError]
    ) -> Explained[Made]:
        if isinstance(picture, OnnxplainError):
            return picture
        explanations: list[Made | MapError] = []
        for result in results:
            if isinstance(result, OnnxplainError):
                return result
            explanations.extend(self.explaining.explanations(picture, result))
        return explanations


def _named(one: Taken | OnnxplainError, names: UniqueNames) -> Taken | OnnxplainError:
    """A picture with a name for its files that no earlier one has."""
    return replace(one, name=names.claim(one.stem)) if isinstance(one, Taken) else one


def by_what_they_read(specs: list[TargetSpec]) -> list[list[TargetSpec]]:
    """Targets in order, in groups of consecutive ones that read the same tensors."""
    return [list(some) for _, some in groupby(specs, key=reads_of)] or [specs]
