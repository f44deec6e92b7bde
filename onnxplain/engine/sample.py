"""One sample of a model and its targets, as methods see them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxplain.baselines import BaselineSpec, Scene, make_baseline
from onnxplain.engine.answers import Answer
from onnxplain.engine.runner import Batching, Part, Perturbation, Runner
from onnxplain.errors import LayerError, MapError
from onnxplain.graph.classifier import Classifier
from onnxplain.graph.constants import quantization
from onnxplain.graph.layers import Layer
from onnxplain.graph.layout import Layout
from onnxplain.graph.masking import MASK, Mask
from onnxplain.graph.quantized import Quantization
from onnxplain.graph.surgery import side_inputs
from onnxplain.methods.base import Anatomy, Batch
from onnxplain.targets import Class, Target
from onnxplain.tensors import Array, FloatArray, TensorSpec


class Sample:
    """Implements `methods.base.Subject` on a `Runner`."""

    def __init__(
        self,
        runner: Runner,
        scene: Scene,
        answer: Answer,
        targets: Sequence[Target],
        scores: FloatArray,
        anatomy: Anatomy,
        layer: tuple[Layer, Array] | None,
    ) -> None:
        """Describe the sample `scene.x`, whose targets have `scores`.

        `layer` is the layer that the method looks at, and its activation for this sample.
        """
        self.x = scene.x
        self.spatial = scene.spatial
        self.scores = scores
        self.classes = tuple(t.index if isinstance(t, Class) else None for t in targets)
        self._runner = runner
        self._scene = scene
        self._answer = answer
        self._targets = targets
        self._anatomy = anatomy
        self._layer = layer

    @property
    def layer(self) -> Layer:
        """See `Subject`."""
        assert self._layer is not None, "the method did not ask for a layer"
        return self._layer[0]

    def activation(self) -> FloatArray:
        """See `Subject`."""
        raw, quantised = self._raw_activation, self._quantization
        return channels_first(raw if quantised is None else quantised.real(raw), self.layer.layout)

    def baseline(self, spec: BaselineSpec) -> FloatArray:
        """See `Subject`."""
        return make_baseline(spec, self._scene)

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


def channels_first(activation: Array, layout: Layout) -> FloatArray:
    """One sample's activation, (1, ...), as (channels, rows, columns), extra tokens dropped."""
    axes = layout.axes
    plain = np.moveaxis(activation[0], axes.index("C") - 1, 0)
    if "T" in axes:
        plain = plain[:, layout.prefix :].reshape(len(plain), *layout.grid)
    return np.ascontiguousarray(plain, np.float32)


def _spec(name: str, value: Array) -> TensorSpec:
    # Only the rank: so the same part serves pictures of every size, and batches that windows,
    # heads or sizes were merged with.
    return TensorSpec(name, value.dtype, (None,) * value.ndim)
