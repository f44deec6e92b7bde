"""One layer's activation for one sample, and values computed from it."""

from __future__ import annotations

import functools

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.analysis.layout import Layout
from onnxplain.errors import LayerError
from onnxplain.execution.answers import Reading
from onnxplain.execution.points import Blend, Feeds, Part
from onnxplain.execution.runner import Batching, Runner
from onnxplain.execution.scoring import Scored
from onnxplain.model.constants import quantization
from onnxplain.model.quantization import Quantization
from onnxplain.targets import Mask
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.transforms import masks
from onnxplain.transforms.extract import side_inputs


class SampleLayer:
    """A layer and its activation for one sample."""

    def __init__(self, runner: Runner, layer: Layer, raw: Array) -> None:
        """`raw` is the activation as the model computes it, (1, ...)."""
        self._runner = runner
        self.layer = layer
        self.raw = raw

    @functools.cached_property
    def cells(self) -> Array:
        """The activation as real numbers, (channels, cells), in float64."""
        real = self.real(self.raw)[0]
        return np.asarray(real.reshape(len(real), -1), np.float64)

    def real(self, raw: Array) -> FloatArray:
        """Activations of the layer, (N, ...), as float32 (N, channels, rows, columns)."""
        quantized = self._quantization
        values = raw if quantized is None else quantized.real(raw)
        return channels_first(values, self.layer.layout)

    def slopes(self, gradient: FloatArray) -> FloatArray:
        """Gradients with respect to the layer, (N, ...), as (N, channels, rows, columns)."""
        quantized = self._quantization
        if quantized is not None:  # the gradient so far is with respect to the integers
            gradient = gradient / np.float32(quantized.scale)
        return channels_first(gradient, self.layer.layout)

    def channel(self, channel: int) -> Scored:
        """A target whose score is the mean activation of a channel."""
        layout, shape = self.layer.layout, (1, *self.layer.shape[1:])
        weights = np.zeros(shape, np.float32)
        planes = np.moveaxis(weights, layout.axes.index("C"), 1)[:, channel]
        # Extra tokens come first; a grid of rows and columns has none.
        planes[:, layout.prefix :] = 1 / np.prod(layout.grid)
        reading = Reading(self.layer.tensor, "logit", "none", quantization=self._quantization)
        return Scored(reading, shape, [Mask(weights[0], f"channel {channel}")])

    def change(self, mask: masks.Mask, feeds: Feeds) -> tuple[FloatArray, Blend]:
        """The activation (1, ...) as float32, and the masks to multiply it by."""
        activation = self.raw.astype(np.float32)
        nothing = 0 if self._quantization is None else self._quantization.zero
        return activation, Blend(mask, feeds, np.full_like(activation, nothing))

    def head(self, batching: Batching, x: Array, score: str) -> Part:
        """The part of the model after the layer, up to the tensor `score`; `x` is the sample.

        Raises:
            LayerError: the layer holds integers whose quantization is not known.
        """
        model, tensor = batching.model, self.layer.tensor
        if self.raw.dtype.kind in "iu" and self._quantization is None:
            raise LayerError(
                f"The layer {tensor!r} holds integers whose scale and zero point are not known: "
                "choose a float tensor, or a method that changes no activations, such as scorecam."
            )
        names = side_inputs(model, tensor, [score])
        sides = self._runner.tiled(model, x, names, 1)
        spec = _spec(tensor, self.raw)
        specs = {tensor: spec, **{name: _spec(name, value) for name, value in sides.items()}}
        return Part(
            self._runner.head(model, specs, [score]),
            spec,
            lambda size: self._runner.tiled(model, x, names, size),
            batching.exact,
        )

    @functools.cached_property
    def _quantization(self) -> Quantization | None:
        return quantization(self._runner.model, self.layer.tensor)


def channels_first(values: Array, layout: Layout) -> FloatArray:
    """Values at a layer, (N, ...), as (N, channels, *layout.planes), without extra tokens."""
    axes = layout.axes
    plain = np.moveaxis(values, axes.index("C"), 1)
    if "T" in axes:
        plain = plain[:, :, layout.prefix :]
    planes = plain.reshape(*plain.shape[:2], *layout.planes)
    return np.ascontiguousarray(planes, np.float32)


def _spec(name: str, value: Array) -> TensorSpec:
    # Only the rank is fixed. So one part works for pictures of every size, and if the batch axis
    # is merged with windows, heads or sizes.
    return TensorSpec(name, value.dtype, (None,) * value.ndim)
