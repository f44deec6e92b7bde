"""Gradients of a model's scores, computed by ONNX Runtime at many points near one sample."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from onnxplain.autodiff.differentiate import gradient_name, with_gradients
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.lowering.float_input import with_float_input
from onnxplain.errors import GradientError
from onnxplain.execution.answers import Reading
from onnxplain.execution.points import Following, Part, Points
from onnxplain.execution.runner import Batching, Runner, Ways
from onnxplain.execution.scoring import Scored, seed_tensor, with_seeds
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.model.model import Model
from onnxplain.runtime.backend import CPU
from onnxplain.runtime.batching import BatchSize
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms.extract import with_outputs

_ROUNDING = 1e-3
"""Largest difference between answers of two graphs in float32, relative to the largest answer."""

_QUANTUM = 0.1
"""The same for a model that rounds to float16 or to integers inside."""


@dataclass(frozen=True, eq=False)
class GradientBatch:
    """The results of one run, for the points in `part`.

    `answers` are values of the answer tensor. `values` are values of the tensors `by`, by name,
    without the input. `gradients` are the gradients with respect to each of these tensors, by name:
    one array (points, ...) for each target.
    """

    part: slice
    answers: Array
    values: Mapping[str, Array]
    gradients: Mapping[str, Sequence[FloatArray]]


class Derivatives:
    """Differentiates a runner's model; each kind of request is differentiated only once."""

    def __init__(self, runner: Runner, held: Callable[[Array], int]) -> None:
        """Prepare; nothing is differentiated yet.

        `held` returns how many bytes of memory a run on a sample, (1, ...), needs.
        """
        self._runner = runner
        self._held = held
        self._proved: set[str] = set()

    def run(
        self,
        scored: Scored,
        by: Sequence[str],
        x: FloatArray,
        points: Points,
        batching: Callable[[], Batching],
        ways: Ways,
    ) -> Iterator[GradientBatch]:
        """Yield the gradients of the targets' scores with respect to the tensors `by`, in batches.

        They are those at each point near the sample `x`, (1, ...). `batching` is called only if
        several points are run in one batch. The points are counted in `ways`.

        Raises:
            GradientError: the score has no gradient with respect to one of the tensors.
        """
        runner, answer = self._runner, scored.reading.tensor
        model, exact = self._takes(points, batching)
        inner = [name for name in by if name not in (answer, runner.spec.name)]
        outputs = list(dict.fromkeys([answer, *inner]))
        places = range(scored.count)
        gradients = [gradient_name(name, t) for t, name in product(places, by)]

        def differentiated() -> Model:
            whole = Part(self.lowered(model), self.spec, runner.others_for, exact)
            ready = points.entered(whole, x, [answer, *by])
            seeded = with_seeds(ready, scored, exact)
            seeds = [seed_tensor(t) for t in places]
            return with_outputs(with_gradients(seeded, answer, by, seeds), [*outputs, *gradients])

        key = (model, exact, scored.key, *by, points.form(x))
        in_turn = isinstance(points, Following)
        at_once = 1 if in_turn else runner.at_once(points.count, self._held(x))
        session = runner.session(key, differentiated, at_once)
        shared = points.shared(session, x)

        def feeds(part: slice, size: int) -> Mapping[str, object]:
            own = points.fed(part, size, self.spec) | scored.feeds([scored.targets] * size)
            return {**shared, **runner.others_for(size), **own}

        sizes = BatchSize(1) if in_turn else runner.sizes(key, exact, at_once, _LARGEST)
        wanted, count = [*outputs, *gradients], points.count
        runs = runner.in_batches(session, wanted, feeds, count, sizes, exact, ways)
        for part, results in runs:
            values = dict(zip(outputs, results, strict=False))
            found = results[len(outputs) :]
            by_tensor = {
                name: found[place : len(scored.targets) * len(by) : len(by)]
                for place, name in enumerate(by)
            }
            yield GradientBatch(part, values[answer], values, by_tensor)

    def prove(self, reading: Reading, x: Array, expected: Array) -> None:
        """Check, once per model, that the lowered model gives the same answer as the model.

        `expected` is the model's own value of the tensor that is read, for the sample `x`,
        (1, ...).

        Raises:
            GradientError: the answers differ.
        """
        if not self.is_proved(reading):
            self._runner.activity.runs += 1
            # A separate runner, so that this session is not kept.
            lowered = self._runner.with_model(self.ready, self.spec)
            lowered.others = self._runner.others
            self.compare(reading, lowered.forward(x, [reading.tensor])[0], expected)

    def compare(self, reading: Reading, found: Array, expected: Array) -> None:
        """Check as `prove` does; `found` is the lowered model's answer for the same sample."""
        tolerance = _QUANTUM if self._runner.rounds else _ROUNDING
        parts = (reading.read(NUMPY, values) for values in (found, expected))
        for ours, own in zip(*parts, strict=True):
            wide = own.astype(np.float64)
            if not np.isfinite(wide).all():
                return  # answers with NaN or infinity cannot be compared
            difference = np.abs(ours - wide).max()
            if not difference <= tolerance * max(float(np.abs(wide).max()), 1e-6):
                backend = self._runner.backend
                other = "" if backend.provider == CPU else ", or --provider cpu"
                raise GradientError(
                    "The graph that was made ready for gradients gives an answer that differs by "
                    f"{difference:.2g} from the model's, so its gradients would be wrong: use a "
                    f"method without gradients, such as occlusion{other}."
                )
        self._proved.add(reading.tensor)

    def is_proved(self, reading: Reading) -> bool:
        """Whether a check has shown that the lowered model gives the same answer as the model."""
        return reading.tensor in self._proved

    @property
    def ready(self) -> Model:
        """The lowered model for one point at a time."""
        return self.lowered(self._one[0])

    @functools.cached_property
    def spec(self) -> TensorSpec:
        """The input of lowered models: in float32 where the model converts its input to floats."""
        return next(spec for spec in self.ready.inputs if spec.name == self._runner.spec.name)

    def lowered(self, model: Model) -> Model:
        """The model in operators that have gradient rules; made once and kept.

        Its input is that of `spec`.
        """
        name = self._runner.spec.name
        return model.once("lowered", lambda: with_float_input(lower(model), name))

    @property
    def _one(self) -> tuple[Model, int]:
        """The model for one point at a time, and the batch size that it requires."""
        runner = self._runner
        fixed = runner.fixed_batch or 1
        return (runner.single if fixed == 1 else runner.model), fixed

    def _takes(self, points: Points, batching: Callable[[], Batching]) -> tuple[Model, int | None]:
        """The model for batches of points, and the batch size that it requires; None if any.

        On a CPU the default batch size is 1: larger batches are no faster than parallel runs, and
        with a batch size of 1 all shapes are known before the run.
        """
        runner = self._runner
        model, fixed = self._one
        in_turn = points.count == 1 or isinstance(points, Following)
        if in_turn or (fixed == 1 and (runner.batch_size or _FIRST[runner.device]) == 1):
            return model, fixed
        found = batching()
        return found.model, found.exact


_FIRST: Mapping[str, int] = {"cpu": 1, "cuda": 2}
"""Points in the first batch if the user gives no batch size."""

_LARGEST = 64
"""Points in a batch. Larger ones need much memory: a backward pass keeps every activation."""
