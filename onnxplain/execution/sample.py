"""One sample and its targets: scores and gradients of changed copies of the sample."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import MapError
from onnxplain.execution.answers import Reading
from onnxplain.execution.baselines import Scene
from onnxplain.execution.derivatives import Derivatives, GradientBatch
from onnxplain.execution.points import Following, LayerMasks, Part, Points, passes
from onnxplain.execution.runner import Batching, Runner, Ways
from onnxplain.execution.sample_layer import SampleLayer
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.scoring import Scored
from onnxplain.execution.wants import (
    Activation,
    FirstGradient,
    InputGradient,
    LayerGradient,
    SampleIndices,
    SampleScores,
    SampleWeights,
    Want,
)
from onnxplain.targets import Target
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import MASK

Found = tuple[int, Sequence[int], list[Array]]
"""Results for some changed samples: index of the layer, indices of the targets, and arrays."""


class Sample:
    """One sample; `found` computes what sampled methods want to know about changed copies of it.

    For adaptive methods it implements `subject.Subject`.
    """

    def __init__(
        self,
        runner: Runner,
        scene: Scene,
        reading: Reading,
        targets: Sequence[Target],
        answers: Array,
        layers: Sequence[tuple[Layer, Array]],
        derivatives: Derivatives,
    ) -> None:
        """Describe the sample `scene.x`; `answers` are its values of the score tensor.

        `layers` are the layers that the method reads, with their activations for this sample.
        """
        self.scene = scene
        self.scores = reading.scores(answers, targets)[0]
        self.spent = Counter(forward_passes=1)
        self._runner = runner
        self._reading = reading
        self._targets = targets
        self._of_changed = [target.of_changed for target in targets]
        self._answers = answers
        self._layers = [SampleLayer(runner, layer, raw) for layer, raw in layers]
        self._derivatives = derivatives
        self._known_batching: Batching | None = None
        self._ways: Ways = Counter()

    @property
    def originals(self) -> Sequence[Original]:
        """The sample at each layer, or once if there is no layer; `absent` is not known yet."""
        score = self.scores[:, None].astype(np.float64)
        known = Original(self.scene, score, np.zeros_like(score))
        if not self._layers:
            return [known]
        return [dataclasses.replace(known, at=(own.layer, own.cells)) for own in self._layers]

    def found(
        self, sampling: Sampling, wants: Sequence[Want], targets: Sequence[int]
    ) -> Iterator[Found]:
        """Yield what is wanted of changed samples, one batch of b samples at a time.

        Scores, (targets, b), are for all `targets`, gradients, (1, b, ...), for one. Both, and
        activations, are float64: sums over samples would else depend on how many are in a batch.
        Masks, (b, places), are float32, and weights (b, ...). The first element of each result is
        the index of the layer among those that the method reads.
        """
        if any(want.per_target for want in wants):
            return self._gradients_found(sampling, wants, targets)
        return self._scores_found(sampling, wants, targets)

    def scores_of(self, x: FloatArray) -> FloatArray:
        """See `Subject`."""
        self.spent["forward_passes"] += 1
        (values,) = self._runner.forward(x, [self._reading.tensor])
        scores: FloatArray = self._changed_score(values)[0]
        return scores

    def perturbed(self, made: Points) -> FloatArray:
        """See `Subject`."""
        self.spent["forward_passes"] += made.count
        runs = self._runner.perturbed(*self._change(made), [self._reading.tensor], self._ways)
        return np.concatenate([self._changed_score(values) for _, (values,) in runs])

    def gradients(self, points: Following, target: int) -> Iterator[tuple[float, FloatArray]]:
        """See `Subject`."""
        picture = self._runner.spec.name
        for run in self._backward([picture], points, [target]):
            yield float(self._score(run.answers)[0, target]), run.gradients[picture][0]

    def channel_gradients(
        self, channel: int, points: Following
    ) -> Iterator[tuple[float, FloatArray]]:
        """See `Subject`."""
        (own,), picture = self._layers, self._runner.spec.name
        scored = own.channel(channel)
        run_points = self._derivatives.run
        for run in run_points(scored, [picture], self.scene.x, points, self._batching, self._ways):
            check_finite(run.gradients)
            self.spent.update(passes(1, 1))
            yield float(own.real(run.answers)[0, channel].mean()), run.gradients[picture][0]

    @property
    def batching_description(self) -> str:
        """How most changed samples were run, in words; empty if none were run yet."""
        if not self._ways:
            return ""
        ((way, _),) = self._ways.most_common(1)
        why = "" if self._known_batching is None else self._known_batching.why
        return f"{way} ({why})" if why else way

    @property
    def _model_input(self) -> Array:
        return np.asarray(self.scene.x.astype(self._runner.spec.dtype))

    def _batching(self) -> Batching:
        if self._known_batching is None:
            tensors = [self._reading.tensor]
            self._known_batching = self._runner.batching(self._model_input, tensors)
        return self._known_batching

    def _scores_found(
        self, sampling: Sampling, wants: Sequence[Want], targets: Sequence[int]
    ) -> Iterator[Found]:
        made, ones = sampling.made, 0
        if isinstance(made, LayerMasks) and made.count and made.ones is not None:
            made, ones = dataclasses.replace(made, feeds=made.feeds.led_by(made.ones)), 1
        reads_masks = SampleWeights() in wants and sampling.weights is None
        outputs = [self._reading.tensor, *([MASK] if reads_masks else [])]
        runs: Iterable[tuple[slice, list[Array]]] = [(slice(0, 0), [self._answers])]
        if made.count:
            runs = self._runner.perturbed(*self._change(made), outputs, self._ways)
        part_of_model = "head" if isinstance(made, LayerMasks) else "forward"
        self.spent[f"{part_of_model}_passes"] += made.count
        shift: Array = np.zeros(len(targets))
        for run, (values, *masks) in runs:
            scores = self._changed_score(values)[: run.stop - run.start, targets].astype(np.float64)
            if ones and run.start == 0:
                shift, scores = self.scores[targets] - scores[0], scores[1:]
            part = slice(run.stop - ones - len(scores), run.stop - ones)
            given = _weights(sampling, part)
            given[SampleScores] = (scores + shift).T
            given[SampleIndices] = np.arange(part.start, part.stop)
            for mask in masks:
                given[SampleWeights] = mask.reshape(len(mask), -1)
            yield 0, targets, [given[type(want)] for want in wants]

    def _gradients_found(
        self, sampling: Sampling, wants: Sequence[Want], targets: Sequence[int]
    ) -> Iterator[Found]:
        layers = self._layers if any(want.at_layer for want in wants) else []
        tensors = [own.layer.tensor for own in layers] or [self._runner.spec.name]
        first: dict[int, Array] = {}
        for run in self._backward(tensors, sampling.made, targets):
            scores = self._score(run.answers)
            for place, tensor in enumerate(tensors):
                given = _weights(sampling, run.part)
                if layers:
                    real = layers[place].real(run.values[tensor])[None]
                    given[Activation] = real.astype(np.float64)
                for target, found in zip(targets, run.gradients[tensor], strict=True):
                    slopes = layers[place].slopes(found) if layers else found
                    gradient = slopes[None].astype(np.float64)
                    given[SampleScores] = scores[:, [target]].T.astype(np.float64)
                    given[LayerGradient if layers else InputGradient] = gradient
                    if FirstGradient() in wants:
                        given[FirstGradient] = first.setdefault(target, gradient[:, :1].copy())
                    yield place, [target], [given[type(want)] for want in wants]

    def _change(self, made: Points | LayerMasks) -> tuple[Part, FloatArray, Points]:
        """The part of the model to run, its input (1, ...), and the changes of that input."""
        batching = self._batching()
        if isinstance(made, LayerMasks):
            (own,) = (one for one in self._layers if one.layer == made.layer)
            head = own.head(batching, self._model_input, self._reading.tensor)
            return head, *own.change(made.mask, made.feeds)
        whole = Part(batching.model, self._runner.spec, self._runner.others_for, batching.exact)
        return whole, self.scene.x, made

    def _backward(
        self, by: Sequence[str], points: Points | LayerMasks, which: Sequence[int]
    ) -> Iterator[GradientBatch]:
        assert not isinstance(points, LayerMasks), "gradients are asked at points of the input"
        derivatives = self._derivatives
        derivatives.prove(self._reading, self._model_input, self._answers)
        targets = [self._targets[i] for i in which]
        scored = Scored(self._reading, self._answers.shape, targets)
        for run in derivatives.run(scored, by, self.scene.x, points, self._batching, self._ways):
            check_finite(run.gradients)
            self.spent.update(passes(run.part.stop - run.part.start, len(targets)))
            yield run

    def _score(self, values: Array) -> FloatArray:
        """The targets' numbers, (samples, targets), which gradients are taken of."""
        return _finite(self._reading.scores(values, self._targets))

    def _changed_score(self, values: Array) -> FloatArray:
        """The scores of changed samples, (samples, targets)."""
        return _finite(self._reading.scores(values, self._of_changed))


def _finite(scores: FloatArray) -> FloatArray:
    """The scores.

    Raises:
        MapError: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise MapError(
            "The model's score is NaN or infinite on a changed sample, so that no map can be "
            "made: try another baseline or fill, or a float32 version of the model."
        )
    return scores


def _weights(sampling: Sampling, part: slice) -> dict[type[Want], Array]:
    return {} if sampling.weights is None else {SampleWeights: sampling.weights(part)}


def check_finite(gradients: Mapping[str, Iterable[FloatArray]]) -> None:
    """Raise MapError if a gradient is not finite; `gradients` has the tensors' names as keys."""
    for by, found in gradients.items():
        if not all(np.isfinite(gradient).all() for gradient in found):
            raise MapError(
                f"The gradient with respect to {by!r} is NaN or infinite: try another target or "
                "layer, a float32 version of the model, or a method without gradients, such as "
                "occlusion."
            )
