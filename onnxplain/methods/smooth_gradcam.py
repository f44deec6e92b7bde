"""Grad-CAM++ over noisy copies of the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.errors import LayerError, OptionError
from onnxplain.methods.base import Gradients, Maps, Subject
from onnxplain.methods.gradcam import pixel_weights, positive, weighted
from onnxplain.methods.layer_maps import LayerMapsMethod
from onnxplain.methods.options import Cells, Indices
from onnxplain.methods.points import passes
from onnxplain.methods.smoothgrad import noisy
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True, kw_only=True)
class SmoothGradCAMPlusPlus(LayerMapsMethod):
    """Grad-CAM++ with A, g, g² and g³ averaged over noisy copies of the sample.

    ReLU(Σ_k w_k Ā^k), w_k = Σ α^k ReLU(ḡ^k), α^k = D₂^k / (2 D₂^k + Σ Ā^k · D₃^k), where D₂ and D₃
    are the means of g² and g³. The noise is Gaussian with sigma = `noise` · (max x − min x);
    `numpy.random.default_rng((seed, i))` draws that of copy i. Where `only_channels` are given, the
    map is made of these alone; where `only_neurons` are (cells of the grid as row x column, such as
    2x3,2x4), only they enter the weights.

    Omeiza et al., "Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep
    Convolutional Neural Network Models", 2019.
    """

    name: ClassVar[str] = "smooth_gradcam++"
    summary: ClassVar[str] = "gradcam++ averaged over noisy copies of the input"
    paper: ClassVar[str] = "Omeiza 2019"
    cost: ClassVar[str] = "1 + samples (25), each with a backward"
    needs_gradient: ClassVar[bool] = True

    noise: float = 0.15
    samples: int = 25
    seed: int = 0
    only_channels: Indices = None
    only_neurons: Cells = None

    def maps_at(self, subject: Subject) -> Sequence[Maps]:
        """See `LayerMapsMethod`.

        Raises:
            LayerError: a layer has no such channel or neuron.
            OptionError: an option is out of its range.
        """
        if self.noise < 0 or self.samples < 1 or self.seed < 0:
            raise OptionError(f"{self.name} takes noise >= 0, samples >= 1 and seed >= 0.")
        chosen = [self._chosen(subject.at(layer)) for layer in subject.layers]
        points = noisy(subject.x, self.noise, self.samples, self.seed)
        means = [_Means() for _ in chosen]
        for layers in subject.layer_gradients(points):
            for seen, found in zip(means, layers, strict=True):
                seen.add(found)
        told = passes(self.samples, len(subject.scores), before=1)
        return [Maps(_map(*pair), told) for pair in zip(means, chosen, strict=True)]

    def _chosen(self, subject: Subject) -> Array:
        """1 where a neuron of a channel counts, else 0."""
        shape = subject.activation().shape
        channel, neuron = np.zeros(shape[0]), np.zeros(shape[1:])
        try:
            channel[... if self.only_channels is None else list(self.only_channels)] = 1
            neuron[
                ... if self.only_neurons is None else tuple(zip(*self.only_neurons, strict=True))
            ] = 1
        except IndexError as error:
            raise LayerError(
                f"The layer {subject.layer.tensor!r} has {shape[0]} channels of {shape[1]} x "
                f"{shape[2]} neurons, counted from 0, so that not all that were chosen exist: "
                f"{error}."
            ) from None
        return channel[:, None, None] * neuron


class _Means:
    """Of the activation, (channels, rows, columns), and of the powers of gradients by it.

    `powers` are the first three, each (targets, channels, rows, columns).
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._count = 0
        self.activation: Array = np.zeros(())
        self.powers: list[Array] = [np.zeros(())] * 3

    def add(self, found: Gradients) -> None:
        """See some more noisy copies."""
        assert found.activation is not None
        a, g = found.activation.astype(np.float64), found.values.astype(np.float64)
        before, self._count = self._count, self._count + len(a)
        self.activation = (before * self.activation + a.sum(axis=0)) / self._count
        self.powers = [
            (before * mean + (g**power).sum(axis=1)) / self._count
            for power, mean in enumerate(self.powers, 1)
        ]


def _map(means: _Means, chosen: Array) -> FloatArray:
    """The maps of all targets at one layer, (targets, rows, columns)."""
    a = means.activation
    maps = []
    for first, second, third in zip(*means.powers, strict=True):
        weights = pixel_weights(second, third, a) * positive(first) * chosen
        maps.append(positive(weighted(weights.sum(axis=(1, 2)), a)))
    return np.stack(maps).astype(np.float32)
