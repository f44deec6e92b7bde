"""One sample of a model and its targets, as methods see them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxplain.autodiff.registry import STANDARD, Rules
from onnxplain.baselines import BaselineSpec, Scene, make_baseline
from onnxplain.engine.answers import Answer
from onnxplain.engine.derivatives import Backward, Derivative, Derivatives, Seed
from onnxplain.engine.runner import Batching, Part, Perturbation, Runner
from onnxplain.errors import GradientError, LayerError, MapError
from onnxplain.graph.classifier import Classifier
from onnxplain.graph.constants import quantization
from onnxplain.graph.layers import Layer
from onnxplain.graph.layout import Layout
from onnxplain.graph.masking import MASK, Mask
from onnxplain.graph.quantized import Quantization, rounds
from onnxplain.graph.surgery import side_inputs
from onnxplain.methods.base import Anatomy, Batch, Gradients
from onnxplain.methods.points import Given, Points
from onnxplain.targets import Class, Target
from onnxplain.tensors import Array, FloatArray, TensorSpec

_ROUNDING = 1e-3
"""Largest difference between two ways to compute answers in float32, in units of the largest."""

_QUANTUM = 0.1
"""The same where numbers are rounded to float16 or to integers on the way."""


class Sample:
    """Implements `methods.base.Subject` on a `Runner`."""

    def __init__(
        self,
        runner: Runner,
        scene: Scene,
        answer: Answer,
        targets: Sequence[Target],
        answers: Array,
        anatomy: Anatomy,
        layer: tuple[Layer, Array] | None,
        derivatives: Derivatives,
    ) -> None:
        """Describe the sample `scene.x`, for which the score tensor holds `answers`.

        `layer` is the layer that the method looks at, and its activation for this sample.
        """
        self.x = scene.x
        self.spatial = scene.spatial
        self.scores = answer.scores(answers, targets)[0]
        self.classes = tuple(t.index if isinstance(t, Class) else None for t in targets)
        self._runner = runner
        self._scene = scene
        self._answer = answer
        self._targets = targets
        self._anatomy = anatomy
        self._answers = answers
        self._layer = layer
        self._derivatives = derivatives

    @property
    def layer(self) -> Layer:
        """See `Subject`."""
        assert self._layer is not None, "the method did not ask for a layer"
        return self._layer[0]

    def activation(self) -> FloatArray:
        """See `Subject`."""
        raw, quantised = self._raw_activation, self._quantization
        real = raw if quantised is None else quantised.real(raw)
        (activation,) = channels_first(real, self.layer.layout)
        return np.asarray(activation)

    def baseline(self, spec: BaselineSpec, seed: int = 0) -> FloatArray:
        """See `Subject`."""
        return make_baseline(spec, dataclasses.replace(self._scene, seed=seed))

    def scores_of(self, x: FloatArray) -> FloatArray:
        """See `Subject`."""
        (values,) = self._runner.forward(x, [self._answer.tensor])
        scores: FloatArray = self._score(values)[0]
        return scores

    def perturbed(
        self,
        mask: Mask,
        feeds: Mapping[str, Array],
        baseline: FloatArray,
        *,
        with_masks: bool = False,
    ) -> Iterator[Batch]:
        """See `Subject`."""
        part = self._runner.whole(self.batching)
        return self._run(part, Perturbation(self.x, baseline, mask, feeds), with_masks)

    def perturbed_layer(self, mask: Mask, feeds: Mapping[str, Array]) -> Iterator[Batch]:
        """See `Subject`."""
        activation = self._raw_activation.astype(np.float32)
        nothing = 0 if self._quantization is None else self._quantization.zero
        change = Perturbation(activation, np.full_like(activation, nothing), mask, feeds)
        return self._run(self._head, change, with_masks=False)

    def gradients(
        self, target: int, points: Points | None = None, rules: Rules = STANDARD
    ) -> Iterator[Gradients]:
        """See `Subject`."""
        for run in self._backward(self._runner.spec.name, target, points, rules):
            yield Gradients(run.part, self._score(run.answers)[:, target], run.gradient)

    def layer_gradients(
        self, target: int, points: Points | None = None, rules: Rules = STANDARD
    ) -> Iterator[Gradients]:
        """See `Subject`."""
        quantised = self._quantization
        for run in self._backward(self.layer.tensor, target, points, rules):
            value, gradient = run.value, run.gradient
            if quantised is not None:  # the gradient is that by the integers
                value, gradient = quantised.real(value), gradient / np.float32(quantised.scale)
            yield Gradients(
                run.part,
                self._score(run.answers)[:, target],
                channels_first(gradient, self.layer.layout),
                channels_first(value, self.layer.layout),
            )

    def classifier(self) -> Classifier:
        """See `Subject`."""
        return self._anatomy.classifier()

    def spread(self, maps: Array) -> FloatArray:
        """See `Subject`."""
        shape = [n if i in self.spatial else 1 for i, n in enumerate(self.x.shape)]
        full = (len(maps), *self.x.shape[1:])
        placed = maps.reshape(len(maps), *shape[1:]).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(placed, full))

    @functools.cached_property
    def batching(self) -> Batching:
        """How samples of this shape are run."""
        return self._runner.batching(self._model_input, [self._answer.tensor])

    @property
    def how(self) -> str:
        """How changed samples were run, in words; empty as long as none were."""
        return self.batching.how if "batching" in vars(self) else ""

    @property
    def _model_input(self) -> Array:
        return self.x.astype(self._runner.spec.dtype)

    @property
    def _raw_activation(self) -> Array:
        assert self._layer is not None, "the method did not ask for a layer"
        return self._layer[1]

    @functools.cached_property
    def _quantization(self) -> Quantization | None:
        return quantization(self._runner.model, self.layer.tensor)

    @functools.cached_property
    def _head(self) -> Part:
        """The part of the model behind the layer."""
        model, tensor = self.batching.model, self.layer.tensor
        raw = self._raw_activation
        if raw.dtype.kind in "iu" and self._quantization is None:
            raise LayerError(
                f"The layer {tensor!r} holds integers, and nothing says what they stand for: "
                "choose a float tensor, or a method that changes no activations, such as scorecam."
            )
        names = side_inputs(model, tensor, [self._answer.tensor])
        sides = self._runner.tiled(model, self._model_input, names, 1)
        spec = _spec(tensor, raw)
        specs = {tensor: spec, **{name: _spec(name, value) for name, value in sides.items()}}
        return Part(
            self._runner.head(model, specs, [self._answer.tensor]),
            spec,
            lambda size: self._runner.tiled(model, self._model_input, names, size),
            self.batching.exact,
        )

    def _backward(
        self, by: str, target: int, points: Points | None, rules: Rules
    ) -> Iterator[Backward]:
        wanted = self._targets[target]
        derivative = Derivative(self._answer.tensor, by, rules)
        constant = self._answer.seed_is_constant(wanted)
        seed = Seed(
            self._answer.seed(self._answers, wanted) if constant else None,
            lambda values: self._answer.seed(values, wanted),
        )
        here = Given(1, lambda _: self.x) if points is None else points
        for run in self._derivatives.run(derivative, self.x, here, seed, lambda: self.batching):
            if points is None:
                self._check_answers(run.answers)
            if not np.isfinite(run.gradient).all():
                raise MapError(
                    f"The gradient by {by!r} is NaN or infinite: try another target or layer, a "
                    "float32 version of the model, or a method without gradients, such as scorecam."
                )
            yield run

    def _check_answers(self, answers: Array) -> None:
        """What the graph was made into before it was differentiated must answer as the model does.

        Raises:
            GradientError: it does not.
        """
        expected = self._answers.astype(np.float64)
        tolerance = _QUANTUM if rounds(self._runner.model.proto) else _ROUNDING
        difference = np.abs(answers - expected).max()
        if difference > tolerance * max(float(np.abs(expected).max()), 1e-6):
            raise GradientError(
                f"The graph that was made ready for gradients answers {difference:.2g} away from "
                "the model, so its gradients would be those of another model: use a method "
                "without gradients, such as scorecam."
            )

    def _run(self, part: Part, change: Perturbation, with_masks: bool) -> Iterator[Batch]:
        outputs = [self._answer.tensor, *([MASK] if with_masks else [])]
        for samples, results in self._runner.perturbed(part, change, outputs):
            masks = results[1] if with_masks else None
            yield Batch(samples, self._score(results[0]), masks)

    def _score(self, values: Array) -> FloatArray:
        """Scores (samples, targets).

        Raises:
            MapError: a score is not finite.
        """
        scores = self._answer.scores(values, self._targets)
        if not np.isfinite(scores).all():
            raise MapError(
                "The model's score is NaN or infinite on a changed sample, so that no map can be "
                "made: try another baseline or fill, or a float32 version of the model."
            )
        return scores


def channels_first(values: Array, layout: Layout) -> FloatArray:
    """Values at a layer, (N, ...), as (N, channels, rows, columns), extra tokens dropped."""
    axes = layout.axes
    plain = np.moveaxis(values, axes.index("C"), 1)
    if "T" in axes:
        plain = plain[:, :, layout.prefix :].reshape(*plain.shape[:2], *layout.grid)
    return np.ascontiguousarray(plain, np.float32)


def _spec(name: str, value: Array) -> TensorSpec:
    # Only the rank: so the same part serves pictures of every size, and batches that windows,
    # heads or sizes were merged with.
    return TensorSpec(name, value.dtype, (None,) * value.ndim)
