"""Grad-CAM++ over noisy copies of the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import LayerError
from onnxplain.execution.sampling import Original
from onnxplain.execution.subject import Structure
from onnxplain.execution.wants import Activation, LayerGradient
from onnxplain.formulas.namespace import Namespace, over_samples, relu
from onnxplain.methods.base import Sums
from onnxplain.methods.gradcam import pixel_weights
from onnxplain.methods.layer_maps import CELLS, LayerMapsMethod
from onnxplain.methods.options import Cells, Indices, Option, Samples
from onnxplain.methods.smoothgrad import NoiseMethod
from onnxplain.tensors import FloatArray


@dataclass(frozen=True, kw_only=True)
class SmoothGradCAMPlusPlus(NoiseMethod, LayerMapsMethod):
    """Grad-CAM++ with A, g, g² and g³ averaged over noisy copies of the sample.

    ReLU(Σ_k w_k Ā^k), w_k = Σ α^k ReLU(ḡ^k), α^k = D₂^k / (2 D₂^k + Σ Ā^k · D₃^k), where D₂ and D₃
    are the means of g² and g³. The noise is that of smoothgrad. With `only_channels`, the map uses
    only these channels. With `only_neurons`, cells of the grid as row x column such as 2x3,2x4, the
    weights use only these cells.

    Omeiza et al., "Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep
    Convolutional Neural Network Models", 2019.
    """

    name = "smooth_gradcam++"
    summary = "gradcam++ averaged over noisy copies of the input"
    weights_channels = True
    sums_channels = True
    paper = "Omeiza 2019"
    cost = "1 + samples (25), each with a backward"
    needs_gradient = True
    wants = (Activation(), LayerGradient())

    samples: Samples = 25
    only_channels: Annotated[Indices, Option("INDICES", "The channels that count: 3,17.")] = None
    only_neurons: Annotated[
        Cells, Option("CELLS", "The grid's cells that count: 2x3,2x4 (row x column).")
    ] = None

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layers that the user named.

        Raises:
            LayerError: one has no such channel or neuron.
        """
        layers = super().layers(structure)
        for layer in layers:
            self._chosen(layer)
        return layers

    def terms(self, xp: Namespace, original: Original, a: Any, g: Any) -> Sums:
        """See `SampledMethod`."""
        powers = {f"g{power}": over_samples(xp, g**power) for power in (1, 2, 3)}
        return {"a": over_samples(xp, a), **powers}

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """See the class."""
        a, first, second, third = (sums[name] / self.samples for name in ("a", "g1", "g2", "g3"))
        layer, _ = original.at_layer
        channels, neurons = self._chosen(layer)
        weights = pixel_weights(xp, second, third, a) * relu(xp, first) * channels * neurons
        return relu(xp, xp.weighted(xp.sum(weights, axis=CELLS, keepdims=True), a))

    def _chosen(self, layer: Layer) -> tuple[FloatArray, FloatArray]:
        """1 where a channel, or a neuron, is used, else 0: (channels, 1, 1), (rows, columns)."""
        rows, columns = layer.layout.planes
        channel = np.zeros(layer.channels, np.float32)
        neuron = np.zeros((rows, columns), np.float32)
        try:
            channel[... if self.only_channels is None else list(self.only_channels)] = 1
            neuron[
                ... if self.only_neurons is None else tuple(zip(*self.only_neurons, strict=True))
            ] = 1
        except IndexError as error:
            raise LayerError(
                f"The layer {layer.tensor!r} has {layer.channels} channels of {rows} x {columns} "
                f"neurons, counted from 0, so that not all that were chosen exist: {error}."
            ) from None
        return channel[:, None, None], neuron
