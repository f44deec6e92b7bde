"""Gradients of a model's scores in ONNX Runtime, at many points near one sample."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from onnxplain.autodiff.differentiate import gradient_name, with_gradients
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import GradientError
from onnxplain.execution.answers import Reading
from onnxplain.execution.point_inputs import PointInputs
from onnxplain.execution.points import Following, Points
from onnxplain.execution.runner import Batching, Runner
from onnxplain.execution.scoring import Scored, seed_tensor, with_seeds
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.model.model import Model
from onnxplain.recent import Recent
from onnxplain.runtime.batching import BatchSize, Fastest, in_batches
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.extract import with_outputs

_ROUNDING = 1e-3
"""Largest difference between two ways to compute answers in float32, in units of the largest."""

_QUANTUM = 0.1
"""The same where numbers are rounded to float16 or to integers on the way."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Gradients of the scores of targets by the tensors `by`."""

    scored: Scored
    by: tuple[str, ...] = ()

    @property
    def key(self) -> Hashable:
        """What graphs differ in."""
        return self.scored.key, self.by


@dataclass(frozen=True, eq=False)
class Backward:
    """What a run gave for the points in `part`.

    `answers` are values of the answer tensor, and `values` those of the tensors that it was
    differentiated by, but for the input; `gradients` by them are (points, ...) for each target.
    """

    part: slice
    answers: Array
    values: Mapping[str, Array]
    gradients: Mapping[str, Sequence[FloatArray]]


class Derivatives:
    """Differentiates a runner's model as it is asked to, once for each question."""

    def __init__(self, runner: Runner, held: Callable[[Array], int]) -> None:
        """Start with nothing differentiated.

        `held` tells the bytes that a run on a sample, (1, ...), keeps.
        """
        self._runner = runner
        self._held = held
        self._lowered: Recent[Model] = Recent(_MODELS_KEPT)
        self._sizes: Recent[BatchSize] = Recent(_SIZES_KEPT)
        self._proved: set[str] = set()

    def run(
        self, asked: Asked, x: FloatArray, points: Points, batching: Callable[[], Batching]
    ) -> Iterator[Backward]:
        """The gradients at each point near the sample `x`, (1, ...), in batches.

        `batching` is asked only where the model is to take several points at once.

        Raises:
            GradientError: the score has no gradient by one of the tensors.
        """
        runner, answer = self._runner, asked.scored.reading.tensor
        model, exact = self._takes(points, batching)
        inputs = PointInputs(runner, x, points, exact)
        inner = [name for name in asked.by if name not in (answer, runner.spec.name)]
        places = range(asked.scored.count)
        gradients = [gradient_name(name, t) for t, name in product(places, asked.by)]
        outputs = list(dict.fromkeys([answer, *inner]))

        def differentiated() -> Model:
            ready = inputs.entered(self.lowered(model), [answer, *asked.by])
            seeded = with_seeds(ready, asked.scored, exact)
            seeds = [seed_tensor(t) for t in places]
            found = with_gradients(seeded, answer, asked.by, seeds)
            return with_outputs(found, [*outputs, *gradients])

        key = (model, asked.key, inputs.form)
        in_turn = isinstance(points, Following)
        at_once = 1 if in_turn else runner.at_once(points.count, self._held(x))
        session = runner.session(key, differentiated, at_once)
        shared, others = inputs.shared(session), runner.others

        def go(part: slice) -> list[Array]:
            runner.others = others  # this may be another thread
            size = exact or part.stop - part.start
            own = asked.scored.feeds(size=size)
            feeds = {**shared, **runner.others_for(size), **inputs.feeds(part, size), **own}
            return session.run(feeds, [*outputs, *gradients])

        size = 1 if in_turn else exact or runner.batch_size
        sizes = self._sizes.get(
            (key, exact, at_once),
            lambda: Fastest(_LARGEST) if size is None else BatchSize(size, at_once),
        )
        for part, results in in_batches(go, points.count, sizes, runner.activity.progress):
            runner.activity.runs += 1
            count = part.stop - part.start
            values = dict(zip(outputs, (v[:count] for v in results), strict=False))
            found = [v[:count] for v in results[len(outputs) :]]
            by_tensor = {
                name: found[place : len(asked.scored.targets) * len(asked.by) : len(asked.by)]
                for place, name in enumerate(asked.by)
            }
            yield Backward(part, values[answer], values, by_tensor)

    def prove(self, reading: Reading, x: Array, expected: Array) -> None:
        """Check, once for a model, that what is differentiated answers as the model does.

        `expected` is what the model itself answers to the sample `x`, (1, ...), in the tensor that
        is read.

        Raises:
            GradientError: it does not.
        """
        if not self.is_proved(reading):
            self._runner.activity.runs += 1
            # A session of its own, not to be kept.
            lowered = self._runner.with_model(self.lowered(self._one[0]))
            lowered.others = self._runner.others
            self.compare(reading, lowered.forward(x, [reading.tensor])[0], expected)

    def compare(self, reading: Reading, found: Array, expected: Array) -> None:
        """The same, for an answer of the lowered model that is known already."""
        tolerance = _QUANTUM if self._runner.rounds else _ROUNDING
        parts = (reading.read(NUMPY, values) for values in (found, expected))
        for ours, own in zip(*parts, strict=True):
            wide = own.astype(np.float64)
            if not np.isfinite(wide).all():
                return  # such a sample proves nothing
            difference = np.abs(ours - wide).max()
            if not difference <= tolerance * max(float(np.abs(wide).max()), 1e-6):
                raise GradientError(
                    f"The graph that was made ready for gradients answers {difference:.2g} away "
                    "from the model, so its gradients would be those of another model: use a "
                    "method without gradients, such as scorecam."
                )
        self._proved.add(reading.tensor)

    def is_proved(self, reading: Reading) -> bool:
        """Whether the lowered model is known to answer as the model does."""
        return reading.tensor in self._proved

    @property
    def ready(self) -> Model:
        """The model made ready for gradients, as it takes one point."""
        return self.lowered(self._one[0])

    def lowered(self, model: Model) -> Model:
        """A model in the form that rules are written for, made once."""
        return self._lowered.get(model, lambda: lower(model))

    @property
    def _one(self) -> tuple[Model, int]:
        """The model as it takes one point, and the batch that it insists on."""
        runner = self._runner
        fixed = runner.fixed_batch or 1
        return (runner.single if fixed == 1 else runner.model), fixed

    def _takes(self, points: Points, batching: Callable[[], Batching]) -> tuple[Model, int | None]:
        """The model as it takes points, and the batch that it insists on.

        On a CPU a batch is no faster than runs at the same time, and for batches of one shapes are
        known beforehand.
        """
        runner = self._runner
        model, fixed = self._one
        in_turn = points.count == 1 or isinstance(points, Following)
        if in_turn or (fixed == 1 and (runner.batch_size or _FIRST[runner.device]) == 1):
            return model, fixed
        found = batching()
        return found.model, found.exact


_MODELS_KEPT = 4
"""The model for one sample, and for several."""

_SIZES_KEPT = 64

_FIRST: Mapping[str, int] = {"cpu": 1, "cuda": 2}
"""Points in the first batch where the user names no number."""

_LARGEST = 64
"""A backward pass keeps every activation."""
