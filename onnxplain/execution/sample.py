"""One sample of a model and its targets, as methods see them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import MapError
from onnxplain.execution.answers import Reading
from onnxplain.execution.baselines import BaselineSpec, Scene, make_baseline
from onnxplain.execution.derivatives import Asked, Backward, Derivatives
from onnxplain.execution.points import Points
from onnxplain.execution.runner import Batching, Part, Perturbation, Runner
from onnxplain.execution.sample_layer import SampleLayer
from onnxplain.execution.scoring import Scored
from onnxplain.execution.subject import Batch, Gradients
from onnxplain.targets import Target
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import MASK, Mask


@dataclass(eq=False)
class _Found:
    """What a sample has found out when it was first asked, shared by its copies at other layers."""

    batching: Batching | None = None


class Sample:
    """Implements `subject.Subject` on a `Runner`."""

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
        """Describe the sample `scene.x`, for which the score tensor holds `answers`.

        `layers` are those that the method looks at, with their activations for this sample.
        """
        self.x = scene.x
        self.spatial = scene.spatial
        self.smooth = scene.channels is not None
        self.scores = reading.scores(answers, targets)[0]
        self._runner = runner
        self._scene = scene
        self._reading = reading
        self._targets = targets
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
        (values,) = self._runner.forward(x, [self._reading.tensor])
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
        head = self._at.head(self._batching(), self._model_input, self._reading.tensor)
        return self._run(head, self._at.change(mask, feeds), with_masks=False)

    def gradients(self, points: Points, targets: Sequence[int]) -> Iterator[Gradients]:
        """See `Subject`."""
        picture = self._runner.spec.name
        for run in self._backward([picture], points, targets):
            scores = self._score(run.answers)[:, targets].T
            yield Gradients(run.part, scores, np.stack(run.gradients[picture]))

    def layer_gradients(
        self, points: Points, targets: Sequence[int]
    ) -> Iterator[Iterator[Gradients]]:
        """See `Subject`."""
        tensors = [seen.layer.tensor for seen in self._layers]
        for run in self._backward(tensors, points, targets):
            scores = self._score(run.answers)[:, targets].T
            yield (seen.gradients(run, scores) for seen in self._layers)

    def climb(self, channel: int, points: Points) -> Iterator[Gradients]:
        """See `Subject`."""
        at, picture = self._at, self._runner.spec.name
        scored = at.channel(channel)
        asked = Asked(scored, (picture,))
        for run in self._derivatives.run(asked, self.x, points, self._batching):
            check_finite(run.gradients)
            means = at.real(run.answers)[:, channel].mean(axis=(1, 2))
            yield Gradients(run.part, means[None], np.stack(run.gradients[picture]))

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
            found.batching = self._runner.batching(self._model_input, [self._reading.tensor])
        return found.batching

    def _scored(self, which: Sequence[int]) -> Scored:
        """How some of the targets are scored."""
        targets = [self._targets[i] for i in which]
        return Scored(self._reading, self._answers.shape, targets)

    def _backward(
        self, by: Sequence[str], points: Points, which: Sequence[int]
    ) -> Iterator[Backward]:
        derivatives = self._derivatives
        derivatives.prove(self._reading.tensor, self._model_input, self._answers)
        asked = Asked(self._scored(which), tuple(by))
        for run in derivatives.run(asked, self.x, points, self._batching):
            check_finite(run.gradients)
            yield run

    def _run(self, part: Part, change: Perturbation, with_masks: bool) -> Iterator[Batch]:
        outputs = [self._reading.tensor, *([MASK] if with_masks else [])]
        for samples, results in self._runner.perturbed(part, change, outputs):
            masks = results[1] if with_masks else None
            yield Batch(samples, self._score(results[0]), masks)

    def _score(self, values: Array) -> FloatArray:
        """Scores (samples, targets).

        Raises:
            MapError: a score is not finite.
        """
        scores = self._reading.scores(values, self._targets)
        if not np.isfinite(scores).all():
            raise MapError(
                "The model's score is NaN or infinite on a changed sample, so that no map can be "
                "made: try another baseline or fill, or a float32 version of the model."
            )
        return scores


def check_finite(gradients: Mapping[str, Iterable[FloatArray]]) -> None:
    """Raise MapError for one that is not."""
    for by, found in gradients.items():
        if not all(np.isfinite(gradient).all() for gradient in found):
            raise MapError(
                f"The gradient by {by!r} is NaN or infinite: try another target or layer, a "
                "float32 version of the model, or a method without gradients, such as scorecam."
            )
