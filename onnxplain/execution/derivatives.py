"""Gradients of a model's score in ONNX Runtime, at many points near one sample."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from onnxplain.analysis.batch_axis import has_fixed_batch
from onnxplain.analysis.layers import Layer
from onnxplain.autodiff.differentiate import differentiate, gradient_name, seed_name
from onnxplain.autodiff.lowering import prepare
from onnxplain.autodiff.table import Rules
from onnxplain.errors import TargetError
from onnxplain.execution.entrance import Entrance
from onnxplain.execution.runner import Batching, Runner, fill
from onnxplain.methods.points import Beside, Following, Points, seats
from onnxplain.model.model import Model
from onnxplain.runtime.batching import BatchSize, Fastest, Fixed, in_batches
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms.extract import head, side_inputs, with_outputs


@dataclass(frozen=True)
class Derivative:
    """What is differentiated by what: the tensor `score` by the tensors `by`, with these rules."""

    score: str
    by: tuple[str, ...]
    rules: Rules


@dataclass(frozen=True, eq=False)
class Seeds:
    """The derivatives of each sample's numbers by its values of the score tensor, one per target.

    `constant`, (targets, 1, ...), where they are the same for all values; else None, and
    `at(values)` tells, (targets, N, ...), for values of N samples.
    """

    count: int
    constant: FloatArray | None
    at: Callable[[Array], FloatArray]

    @property
    def forwards(self) -> int:
        """Forward passes for one point: where the seeds depend on its answers, one tells these."""
        return 1 if self.constant is not None else 2


@dataclass(frozen=True, eq=False)
class Backward:
    """What a run gave for the points in `part`.

    `answers` are values of the score tensor, and `values` those of the tensors that it was
    differentiated by, but for the input; `gradients` by them are (points, ...) for each target.
    Each point took so many `forwards`.
    """

    part: slice
    answers: Array
    values: Mapping[str, Array]
    gradients: Mapping[str, Sequence[FloatArray]]
    forwards: int


class Derivatives:
    """Differentiates a runner's model as it is asked to, once for each question."""

    def __init__(self, runner: Runner) -> None:
        """Start with nothing differentiated."""
        self._runner = runner
        self._prepared: dict[Model, Model] = {}
        self._enough: dict[tuple[Model, str, str], bool] = {}
        self._sizes: dict[Hashable, BatchSize] = {}
        self._proved: set[str] = set()

    def run(
        self,
        derivative: Derivative,
        x: FloatArray,
        points: Points,
        seeds: Seeds,
        batching: Callable[[], Batching],
    ) -> Iterator[Backward]:
        """The gradients at each point near the sample `x`, (1, ...), in batches.

        The seeds are of targets that go `together`: with more, the graph and its answers would
        grow too large.

        `batching` is asked only where the model is to take several points at once.

        Raises:
            GradientError: the score has no gradient by that tensor.
            TargetError: the rules compare samples, and the target is not linear in the answers.
        """
        if isinstance(points, Beside) and seeds.constant is None:
            raise TargetError(
                "This method distributes a number that the graph itself computes: explain a class, "
                "an element or a region of the model's own answer, or use integrated_gradients."
            )
        runner = self._runner
        model, exact = self._takes(points, batching)
        entrance = Entrance(runner, x, points, exact)
        score, by = derivative.score, derivative.by
        seen = [score, *(name for name in by if name not in (score, runner.spec.name))]

        def differentiated(count: int) -> Model:
            ready = entrance.entered(self._ready(model), [score, *by])
            ready = derivative.rules.variant.prepare(ready)
            return differentiate(ready, score, by, seen, derivative.rules, count)

        def plain() -> Model:
            return with_outputs(entrance.entered(model, [score, *by]), [score])

        graph = Seeded(runner, (model, derivative, entrance.form), differentiated, seeds.count)
        shared = entrance.shared(graph.session)

        def go(part: slice) -> list[Array]:
            size = exact or part.stop - part.start
            feeds = {**shared, **runner.others_for(size), **entrance.feeds(part, size)}
            if seeds.constant is not None:
                own = np.repeat(seeds.constant, size, axis=1)
            else:
                scores = runner.session((model, score, entrance.form), plain)
                runner.runs += 1
                own = seeds.at(scores.run(feeds, [score])[0])
            return graph.run(feeds, own, seen, by)

        for part, results in in_batches(
            go, points.count, self._batch_size(graph, points, exact), runner.progress
        ):
            count = part.stop - part.start
            values = dict(zip(seen, (value[:count] for value in results), strict=False))
            gradients = _by_tensor(by, (found[:count] for found in results[len(seen) :]))
            yield Backward(part, values[score], values, gradients, seeds.forwards)

    def at_layers(
        self,
        score: str,
        activations: Mapping[Layer, Array],
        x: Array,
        seeds: FloatArray,
    ) -> Backward:
        """The gradients at the sample `x`, (1, ...), by the activations of layers.

        `seeds` are (targets, 1, ...). Where all of the input's way to the score leads through the
        first layer of the graph, only what lies behind it is run, once for all of them.

        Raises:
            GradientError: the score has no gradient by one of them.
        """
        runner = self._runner
        model, size = self._one
        ready = self._ready(model)
        tensors = [layer.tensor for layer in activations]
        position = runner.model.index.position
        first = min(activations, key=lambda layer: position[layer.tensor])
        activation = activations[first]
        if activation.dtype.kind == "f" and self._is_enough(ready, first, score):
            feeds = {first.tensor: fill(activation.astype(np.float32), size)}
        else:
            feeds = runner.feeds(model, x)

        def differentiated(count: int) -> Model:
            part = ready
            if first.tensor in feeds:
                spec = TensorSpec(first.tensor, np.dtype(np.float32), feeds[first.tensor].shape)
                part = head(ready, {first.tensor: spec}, [score])
            return differentiate(part, score, tensors, [score], seeds=count)

        shapes = ((name, value.shape) for name, value in feeds.items())
        graph = Seeded(runner, (model, score, *tensors, *shapes), differentiated, len(seeds))
        answers, *found = graph.run(feeds, np.repeat(seeds, size, axis=1), [score], tensors)
        gradients = _by_tensor(tensors, (values[:1] for values in found))
        return Backward(slice(0, 1), answers[:1], {}, gradients, 1)

    def unproved(self, score: str, x: Array) -> Iterator[Array]:
        """What the model made ready answers to the sample `x`, (1, ...), unless it is `proved`."""
        if score not in self._proved:
            self._runner.runs += 1
            # A session of its own, not to be kept.
            yield self._runner.with_model(self.ready).forward(x, [score])[0]

    def proved(self, score: str) -> None:
        """Take note that the model made ready answers as the model does."""
        self._proved.add(score)

    def _is_enough(self, ready: Model, layer: Layer, score: str) -> bool:
        """Whether the score follows from the layer's activation alone."""
        key = ready, layer.tensor, score
        if key not in self._enough:
            self._enough[key] = not side_inputs(ready, layer.tensor, [score])
        return self._enough[key]

    @property
    def ready(self) -> Model:
        """The model made ready for gradients, as it takes one point."""
        return self._ready(self._one[0])

    @property
    def _one(self) -> tuple[Model, int]:
        """The model as it takes one point, and the batch that it insists on."""
        runner = self._runner
        fixed = has_fixed_batch(runner.model.proto, runner.spec.name) or 1
        return (runner.single if fixed == 1 else runner.model), fixed

    def _takes(self, points: Points, batching: Callable[[], Batching]) -> tuple[Model, int | None]:
        """The model as it takes points, and the batch that it insists on.

        On a CPU several at once are no faster, and for batches of one shapes are known beforehand.
        """
        runner = self._runner
        model, fixed = self._one
        in_turn = points.count == 1 or isinstance(points, Following)
        if in_turn or (fixed == 1 and (runner.batch_size or _FIRST[runner.device]) == 1):
            return model, fixed
        found = batching()
        return found.model, found.exact

    def _batch_size(self, graph: Seeded, points: Points, exact: int | None) -> BatchSize:
        if isinstance(points, Following):
            return Fixed(1)
        size = exact or self._runner.batch_size
        fresh = Fastest(_LARGEST) if size is None else Fixed(size)
        return self._sizes.setdefault((*graph.key, exact), fresh)

    def _ready(self, model: Model) -> Model:
        if model not in self._prepared:
            self._prepared[model] = prepare(model)
        return self._prepared[model]


_FIRST: Mapping[str, int] = {"cpu": 1, "cuda": 2}
"""Points in the first batch where the user names no number."""

_LARGEST = 64
"""A backward pass keeps every activation."""


class Seeded:
    """A differentiated model that serves several targets with one forward pass."""

    def __init__(
        self, runner: Runner, key: tuple[Hashable, ...], build: Callable[[int], Model], targets: int
    ) -> None:
        """`build` makes the model for a number of targets; `key` tells it from others."""
        self._size = seats(targets)
        self._runner = runner
        self.key = (*key, self._size)
        self.session = runner.session(self.key, lambda: build(self._size))

    def run(
        self,
        feeds: Mapping[str, object],
        seeds: FloatArray,
        seen: Sequence[str],
        by: Sequence[str],
    ) -> list[Array]:
        """Values of the tensors `seen`, then the gradients by each of `by`, target by target."""
        asked = {seed_name(i): seed for i, seed in enumerate(fill(seeds, self._size))}
        gradients = [gradient_name(name, i) for i, name in product(range(len(seeds)), by)]
        self._runner.runs += 1
        return self.session.run({**feeds, **asked}, [*seen, *gradients])


def _by_tensor(by: Sequence[str], gradients: Iterable[Array]) -> dict[str, list[FloatArray]]:
    """Gradients that come target by target, by what they were taken by."""
    found = list(gradients)
    return {name: found[place :: len(by)] for place, name in enumerate(by)}
