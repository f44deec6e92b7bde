"""One sample of a model and its targets, as methods see them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxplain.analysis.classifier import Classifier
from onnxplain.analysis.layers import Layer
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.errors import GradientError, MapError
from onnxplain.execution.answers import Answer
from onnxplain.execution.baselines import BaselineSpec, Scene, make_baseline
from onnxplain.execution.derivatives import Backward, Derivative, Derivatives, Seeds
from onnxplain.execution.runner import Batching, Part, Perturbation, Runner
from onnxplain.execution.sample_layer import SampleLayer
from onnxplain.execution.tokens import Tokens
from onnxplain.methods.base import Anatomy, Attention, Batch, Gradients
from onnxplain.methods.points import Beside, Given, Points, together
from onnxplain.model.quantization import rounds
from onnxplain.targets import Class, Target
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import MASK, Mask

_ROUNDING = 1e-3
"""Largest difference between two ways to compute answers in float32, in units of the largest."""

_QUANTUM = 0.1
"""The same where numbers are rounded to float16 or to integers on the way."""


@dataclass(eq=False)
class _Found:
    """What a sample has found out when it was first asked, shared by its copies at other layers.

    `slopes` by every layer are those of `targets`.
    """

    batching: Batching | None = None
    tokens: Tokens | None = None
    targets: Sequence[int] = ()
    slopes: Mapping[str, Sequence[FloatArray]] = field(default_factory=dict)


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
        layers: Sequence[tuple[Layer, Array]],
        derivatives: Derivatives,
    ) -> None:
        """Describe the sample `scene.x`, for which the score tensor holds `answers`.

        `layers` are those that the method looks at, with their activations for this sample.
        """
        self.x = scene.x
        self.spatial = scene.spatial
        self.smooth = scene.channels is not None
        self.scores = answer.scores(answers, targets)[0]
        self.classes = tuple(t.index if isinstance(t, Class) else None for t in targets)
        self._runner = runner
        self._scene = scene
        self._answer = answer
        self._targets = targets
        self._anatomy = anatomy
        self._answers = answers
        self._layers = [SampleLayer(runner, layer, raw) for layer, raw in layers]
        self._place = 0
        self._derivatives = derivatives
        self._found = _Found()

    @property
    def layers(self) -> Sequence[Layer]:
        """See `Subject`."""
        return [seen.layer for seen in self._layers]

    @property
    def layer(self) -> Layer:
        """See `Subject`."""
        return self._at.layer

    def at(self, layer: Layer) -> Sample:
        """See `Subject`."""
        other = copy.copy(self)
        other._place = self.layers.index(layer)
        return other

    def activation(self) -> FloatArray:
        """See `Subject`."""
        return np.asarray(self._at.activation[0])

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
        part = self._runner.whole(self._batching())
        return self._run(part, Perturbation(self.x, baseline, mask, feeds), with_masks)

    def perturbed_layer(self, mask: Mask, feeds: Mapping[str, Array]) -> Iterator[Batch]:
        """See `Subject`."""
        head = self._at.head(self._batching(), self._model_input, self._answer.tensor)
        return self._run(head, self._at.change(mask, feeds), with_masks=False)

    def gradient(
        self, rules: Rules = STANDARD, beside: Mapping[str, FloatArray] | None = None
    ) -> FloatArray:
        """See `Subject`."""
        picture = self._runner.spec.name
        found: list[FloatArray] = []
        for some in together(len(self._targets)):
            if beside is None:
                seeds = self._seeds(some, self._answers)
                (run,) = self._backward([picture], Given(1, lambda _: self.x), rules, seeds)
                self._check_answers(run.answers)
            else:
                (run,) = self._backward([picture], Beside(beside), rules, self._seeds(some))
            found += run.gradients[picture]
        return np.concatenate(found)

    def gradients(self, points: Points, targets: Sequence[int]) -> Iterator[Gradients]:
        """See `Subject`."""
        self._check_graph()
        picture = self._runner.spec.name
        for run in self._backward([picture], points, STANDARD, self._seeds(targets)):
            scores = self._score(run.answers)[:, targets].T
            yield Gradients(
                run.part, scores, np.stack(run.gradients[picture]), forwards=run.forwards
            )

    def layer_gradient(self, targets: Sequence[int]) -> FloatArray:
        """See `Subject`."""
        found = self._found
        if found.targets != targets:
            found.targets, found.slopes = targets, self._differentiate_here(targets)
        return self._at.slopes(np.concatenate(found.slopes[self.layer.tensor]))

    def layer_gradients(
        self, points: Points, targets: Sequence[int]
    ) -> Iterator[Iterator[Gradients]]:
        """See `Subject`."""
        self._check_graph()
        tensors = [seen.layer.tensor for seen in self._layers]
        for run in self._backward(tensors, points, STANDARD, self._seeds(targets)):
            scores = self._score(run.answers)[:, targets].T
            yield (seen.gradients(run, scores) for seen in self._layers)

    def climb(self, channel: int, points: Points) -> Iterator[Gradients]:
        """See `Subject`."""
        at, picture = self._at, self._runner.spec.name
        seed = at.mean_of(channel)[None]
        derivative = Derivative(at.layer.tensor, (picture,), STANDARD)
        constant = Seeds(1, seed, lambda _: seed)
        for run in self._derivatives.run(derivative, self.x, points, constant, self._batching):
            _check_finite(run.gradients)
            means = at.real(run.answers)[:, channel].mean(axis=(1, 2))
            yield Gradients(run.part, means[None], np.stack(run.gradients[picture]))

    def attention(self) -> Attention:
        """See `Subject`."""
        tokens = self._tokens()
        self._check_answers(tokens.answers)
        return _attention(tokens, tokens.attention)

    def attention_gradients(self) -> Attention:
        """See `Subject`."""
        tokens = self._tokens()
        self._check_answers(tokens.answers)
        seeds = [self._seeds(some) for some in together(len(self._targets))]
        groups = map(tokens.gradients, seeds)
        found = [np.concatenate(parts) for parts in zip(*groups, strict=True)]
        _check_finite(dict(zip(tokens.blocks.attention, found, strict=True)))
        return _attention(tokens, found, max(own.forwards for own in seeds))

    def classifier(self) -> Classifier:
        """See `Subject`."""
        return self._anatomy.classifier()

    def spread(self, maps: Array) -> FloatArray:
        """See `Subject`."""
        shape = [n if i in self.spatial else 1 for i, n in enumerate(self.x.shape)]
        full = (len(maps), *self.x.shape[1:])
        placed = maps.reshape(len(maps), *shape[1:]).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(placed, full))

    @property
    def how(self) -> str:
        """How changed samples were run, in words; empty as long as none were."""
        return "" if self._found.batching is None else self._found.batching.how

    @property
    def _at(self) -> SampleLayer:
        assert self._layers, "the method did not ask for a layer"
        return self._layers[self._place]

    @property
    def _model_input(self) -> Array:
        return self.x.astype(self._runner.spec.dtype)

    def _batching(self) -> Batching:
        found = self._found
        if found.batching is None:
            found.batching = self._runner.batching(self._model_input, [self._answer.tensor])
        return found.batching

    def _tokens(self) -> Tokens:
        if self._found.tokens is None:
            ready, score = self._derivatives.ready, self._answer.tensor
            self._found.tokens = Tokens(self._runner, ready, self._model_input, score)
        return self._found.tokens

    def _seeds(self, which: Sequence[int], values: Array | None = None) -> Seeds:
        """The derivatives of some targets by the score tensor, at `values` where they are known."""
        wanted = [self._targets[i] for i in which]

        def at(values: Array) -> FloatArray:
            return np.stack([self._answer.seed(values, target) for target in wanted])

        if values is None and all(map(self._answer.seed_is_constant, wanted)):
            values = self._answers
        return Seeds(len(wanted), None if values is None else at(values), at)

    def _backward(
        self, by: Sequence[str], points: Points, rules: Rules, seeds: Seeds
    ) -> Iterator[Backward]:
        derivative = Derivative(self._answer.tensor, tuple(by), rules)
        for run in self._derivatives.run(derivative, self.x, points, seeds, self._batching):
            _check_finite(run.gradients)
            yield run

    def _differentiate_here(self, targets: Sequence[int]) -> Mapping[str, Sequence[FloatArray]]:
        """The gradients by every layer that the method looks at, (1, ...) for each target."""
        seeds = self._seeds(targets, self._answers)
        assert seeds.constant is not None
        activations = {seen.layer: seen.raw for seen in self._layers}
        found = self._derivatives.at_layers(
            self._answer.tensor, activations, self._model_input, seeds.constant
        )
        self._check_answers(found.answers)
        _check_finite(found.gradients)
        return found.gradients

    def _check_graph(self) -> None:
        """See `_check_answers`; once for a model, where no answer at the sample comes by itself."""
        for answers in self._derivatives.unproved(self._answer.tensor, self._model_input):
            self._check_answers(answers)

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
        self._derivatives.proved(self._answer.tensor)

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


def _attention(tokens: Tokens, values: Sequence[FloatArray], forwards: int = 0) -> Attention:
    layout = tokens.blocks.layout
    return Attention(values, layout.prefix, layout.grid, tokens.read, forwards)


def _check_finite(gradients: Mapping[str, Iterable[FloatArray]]) -> None:
    """Raise MapError for one that is not."""
    for by, found in gradients.items():
        if not all(np.isfinite(gradient).all() for gradient in found):
            raise MapError(
                f"The gradient by {by!r} is NaN or infinite: try another target or layer, a "
                "float32 version of the model, or a method without gradients, such as scorecam."
            )
