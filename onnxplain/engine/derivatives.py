"""Gradients of a model's score in ONNX Runtime, at many points near one sample."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.autodiff.differentiate import GRADIENT, SEED, differentiate
from onnxplain.autodiff.prepare import prepare
from onnxplain.autodiff.registry import Rules
from onnxplain.engine.runner import Batching, Runner, fill
from onnxplain.errors import TargetError
from onnxplain.graph.batch import has_fixed_batch, with_batch
from onnxplain.graph.builder import PREFIX
from onnxplain.graph.layers import Layer
from onnxplain.graph.masking import BASELINE, X, masked
from onnxplain.graph.model import Model
from onnxplain.graph.surgery import head, side_inputs, with_outputs
from onnxplain.graph.twin import twin_name, with_twin
from onnxplain.methods.points import Beside, Blend, Points
from onnxplain.runtime.batching import BatchSize, Fastest, Fixed, in_batches
from onnxplain.runtime.session import Session
from onnxplain.tensors import Array, FloatArray, TensorSpec


@dataclass(frozen=True)
class Derivative:
    """What is differentiated by what: the tensor `score` by the tensor `by`, with these rules."""

    score: str
    by: str
    rules: Rules


@dataclass(frozen=True, eq=False)
class Seed:
    """The derivative of each sample's number by its values of the score tensor.

    `constant`, (1, ...), where it is the same for all values; else None, and `at(values)` tells.
    """

    constant: FloatArray | None
    at: Callable[[Array], FloatArray]


@dataclass(frozen=True, eq=False)
class Backward:
    """What a run gave for the points in `part`.

    `answers` are values of the score tensor; `gradient` and `value` are those of the tensor that it
    was differentiated by.
    """

    part: slice
    answers: Array
    gradient: FloatArray
    value: Array


@dataclass(frozen=True, eq=False)
class BackwardAtLayers:
    """What a run gave for the sample: values of the score tensor, and gradients by layers."""

    answers: Array
    gradients: Mapping[str, FloatArray]


class Derivatives:
    """Differentiates a runner's model as it is asked to, once for each question."""

    def __init__(self, runner: Runner) -> None:
        """Start with nothing differentiated."""
        self._runner = runner
        self._prepared: dict[Model, Model] = {}
        self._enough: dict[tuple[Model, str, str], bool] = {}
        self._sizes: dict[tuple[Derivative, int | None], BatchSize] = {}

    def run(
        self,
        derivative: Derivative,
        x: FloatArray,
        points: Points,
        seed: Seed,
        batching: Callable[[], Batching],
    ) -> Iterator[Backward]:
        """The gradient at each point near the sample `x`, (1, ...), in batches.

        `batching` is asked only where the model is to take several points at once.

        Raises:
            GradientError: the score has no gradient by that tensor.
            TargetError: the rules compare samples, and the target is not linear in the answers.
        """
        if isinstance(points, Beside) and seed.constant is None:
            raise TargetError(
                "This method distributes a number that the graph itself computes: explain a class, "
                "an element or a region of the model's own answer, or use integrated_gradients."
            )
        runner = self._runner
        model, exact = self._one if points.count == 1 else self._batched(batching)
        source = _Source(runner, x, points, exact)
        outputs = list(dict.fromkeys([derivative.score, derivative.by]))
        gradient = GRADIENT + derivative.by

        def differentiated() -> Model:
            ready = source.entered(self._ready(model), outputs)
            ready = derivative.rules.variant.prepare(ready)
            wanted = [derivative.by]
            return differentiate(ready, derivative.score, wanted, outputs, derivative.rules)

        def plain() -> Model:
            return with_outputs(source.entered(model, outputs), [derivative.score])

        key = (model, derivative, source.form)
        session = runner.session(key, differentiated)
        shared = source.shared(session)

        def go(part: slice) -> list[Array]:
            size = exact or part.stop - part.start
            feeds = {**shared, **runner.others_for(size), **source.feeds(part, size)}
            if seed.constant is not None:
                seeds = np.repeat(seed.constant, size, axis=0)
            else:
                scores = runner.session((model, derivative.score, source.form), plain)
                seeds = seed.at(scores.run(feeds, [derivative.score])[0])
            runner.runs += 1
            return session.run({**feeds, SEED: seeds}, [*outputs, gradient])

        size = self._sizes.setdefault((derivative, exact), self._batch_size(exact))
        for part, results in in_batches(go, points.count, size, runner.progress):
            rows = [result[: part.stop - part.start] for result in results]
            yield Backward(part, rows[0], rows[-1], rows[-2])

    def at_layers(
        self,
        score: str,
        activations: Mapping[Layer, Array],
        x: Array,
        seed: FloatArray,
        rules: Rules,
    ) -> BackwardAtLayers:
        """The gradients at the sample `x`, (1, ...), by the activations of layers.

        Where all of the input's way to the score leads through the first layer of the graph, only
        what lies behind it is run, once for all of them.

        Raises:
            GradientError: the score has no gradient by one of them.
        """
        runner = self._runner
        model, size = self._one
        ready = self._ready(model)
        tensors = [layer.tensor for layer in activations]
        position = runner.model.wiring.position
        first = min(activations, key=lambda layer: position[layer.tensor])
        activation = activations[first]
        if activation.dtype.kind == "f" and self._is_enough(ready, first, score):
            feeds = {first.tensor: fill(activation.astype(np.float32), size)}
        else:
            feeds = runner.feeds(model, x)

        def differentiated() -> Model:
            part = ready
            if first.tensor in feeds:
                spec = TensorSpec(first.tensor, np.dtype(np.float32), feeds[first.tensor].shape)
                part = head(ready, {first.tensor: spec}, [score])
            return differentiate(part, score, tensors, [score], rules)

        shapes = ((name, value.shape) for name, value in feeds.items())
        session = runner.session((model, score, *tensors, rules, *shapes), differentiated)
        runner.runs += 1
        wanted = [score, *(GRADIENT + name for name in tensors)]
        found = session.run({**feeds, SEED: np.repeat(seed, size, axis=0)}, wanted)
        answers, *gradients = (value[:1] for value in found)
        return BackwardAtLayers(answers, dict(zip(tensors, gradients, strict=True)))

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

    def _batched(self, batching: Callable[[], Batching]) -> tuple[Model, int | None]:
        """The model as it takes points, and the batch that it insists on.

        On a CPU several at once are no faster, and for batches of one shapes are known beforehand.
        """
        runner = self._runner
        model, fixed = self._one
        if fixed == 1 and (runner.batch_size or _FIRST[runner.device]) == 1:
            return model, 1
        found = batching()
        return found.model, found.exact

    def _batch_size(self, exact: int | None) -> BatchSize:
        size = exact or self._runner.batch_size
        return Fastest(_LARGEST) if size is None else Fixed(size)

    def _ready(self, model: Model) -> Model:
        if model not in self._prepared:
            self._prepared[model] = prepare(model)
        return self._prepared[model]


_FIRST: Mapping[str, int] = {"cpu": 1, "cuda": 2}
"""Points in the first batch where the user names no number."""

_LARGEST = 64
"""A backward pass keeps every activation."""


class _Source:
    """How points enter the graph: as they are, or blended inside of it."""

    def __init__(self, runner: Runner, x: FloatArray, points: Points, exact: int | None) -> None:
        self._runner = runner
        self._x = x
        self._points = points
        self._exact = exact
        self.form = _form(x, points)

    def entered(self, model: Model, outputs: Sequence[str]) -> Model:
        """The part of the model that leads to `outputs`, with the points' way into it."""
        if isinstance(self._points, Beside):
            return self._beside(model, self._points)
        if not isinstance(self._points, Blend):
            return model
        blended = masked(model, self._runner.spec, self._x.shape, self._points.mask, outputs)
        name = PREFIX + next(iter(self._points.feeds))
        return blended if self._exact is None else with_batch(blended, name, self._exact)

    def shared(self, session: Session) -> Mapping[str, object]:
        """What stays on the device."""
        if not isinstance(self._points, Blend):
            return {}
        return {X: session.place(self._x), BASELINE: session.place(self._points.baseline)}

    def feeds(self, part: slice, size: int) -> dict[str, Array]:
        """What is fed for some of the points, filled up to `size`."""
        if isinstance(self._points, Blend):
            named = self._points.feeds.items()
            return {PREFIX + name: fill(array[part], size) for name, array in named}
        spec = self._runner.spec
        if isinstance(self._points, Beside):
            others = self._points.others.items()
            samples = {twin_name(name, spec.name): other for name, other in others}
            samples[spec.name] = self._x
        else:
            samples = {spec.name: self._points.make(part)}
        return {name: fill(value.astype(spec.dtype), size) for name, value in samples.items()}

    def _beside(self, model: Model, points: Beside) -> Model:
        for name in points.others:
            model = with_twin(model, name, self._runner.spec.name)
        return model


def _form(x: FloatArray, points: Points) -> Hashable:
    """What tells models from one another that points enter in different ways."""
    if isinstance(points, Blend):
        return points.mask, x.shape
    return tuple(points.others) if isinstance(points, Beside) else None
