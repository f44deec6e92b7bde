"""Grad-CAM++ over noisy copies of the sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from onnxplain.errors import LayerError, OptionError
from onnxplain.execution.points import TARGETS_AT_ONCE, target_chunks
from onnxplain.execution.subject import Gradients, Subject
from onnxplain.formulas.namespace import relu
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import Maps, SampledMethod
from onnxplain.methods.gradcam import CELLS, pixel_weights
from onnxplain.methods.layer_maps import LayerMapsMethod
from onnxplain.methods.options import Cells, Indices, Noise, Option, Samples, Seed
from onnxplain.methods.smoothgrad import noisy
from onnxplain.tensors import Array, FloatArray

_BYTES = 24
"""What a neuron keeps for one target: three sums in float64."""

MOST_BYTES = 2**28
"""Bytes that the sums may take: with many layers, fewer targets share a forward pass."""


@dataclass(frozen=True, kw_only=True)
class SmoothGradCAMPlusPlus(LayerMapsMethod, SampledMethod):
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

    noise: Noise = 0.15
    samples: Samples = 25
    seed: Seed = 0
    only_channels: Annotated[Indices, Option("INDICES", "The channels that count: 3,17.")] = None
    only_neurons: Annotated[
        Cells, Option("CELLS", "The grid's cells that count: 2x3,2x4 (row x column).")
    ] = None

    def maps(self, subject: Subject) -> Maps:
        """See `SampledMethod`.

        Raises:
            LayerError: a layer has no such channel or neuron.
            OptionError: an option is out of its range.
        """
        if self.noise < 0 or self.samples < 1 or self.seed < 0:
            raise OptionError(f"{self.name} takes noise >= 0, samples >= 1 and seed >= 0.")
        chosen = [self._chosen(subject.at(layer)) for layer in subject.layers]
        points = noisy(subject.x, self.noise, self.samples, self.seed)
        neurons = sum(own.size for own in chosen)
        most = max(1, min(TARGETS_AT_ONCE, MOST_BYTES // (_BYTES * neurons)))
        spent = Counter(forward_passes=1)
        groups = []
        for some in target_chunks(len(subject.scores), most):
            means = _averaged(subject.layer_gradients(points, some), len(some), chosen, spent)
            groups.append([_map(*pair) for pair in zip(means, chosen, strict=True)])
            del means  # before those of the next group are made
        maps = [np.concatenate(parts) for parts in zip(*groups, strict=True)]
        return self.joined([Maps(values) for values in maps], subject.layers, dict(spent))

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

    `powers` are the first three, (3, targets, channels, rows, columns).
    """

    def __init__(self, targets: int, shape: tuple[int, ...]) -> None:
        """Start with nothing seen at a layer of this shape."""
        self._count = 0
        self._activation = np.zeros(shape)
        self._powers = np.zeros((3, targets, *shape))

    def add(self, found: Gradients) -> None:
        """See some more noisy copies."""
        assert found.activation is not None
        self._count += len(found.activation)
        self._activation += found.activation.sum(axis=0, dtype=np.float64)
        for sums, slopes in zip(self._powers.swapaxes(0, 1), found.values, strict=True):
            for slope in slopes:
                power = slope.astype(np.float64)
                for index in range(len(sums)):
                    sums[index] += power
                    power *= slope

    @property
    def activation(self) -> Array:
        """The mean of the activation."""
        return self._activation / self._count

    @property
    def powers(self) -> Iterator[Array]:
        """The means of the first three powers, (3, channels, rows, columns), for each target."""
        return (sums / self._count for sums in self._powers.swapaxes(0, 1))


def _averaged(
    batches: Iterator[Iterator[Gradients]],
    targets: int,
    chosen: Sequence[Array],
    spent: Counter[str],
) -> list[_Means]:
    """The means at every layer; the passes that they take are added to `spent`."""
    means = [_Means(targets, own.shape) for own in chosen]
    for layers in batches:
        for seen, found in zip(means, layers, strict=True):
            seen.add(found)
        spent.update(found.passes)
    return means


def _map(means: _Means, chosen: Array) -> FloatArray:
    """The maps of all targets at one layer, (targets, rows, columns)."""
    a = means.activation
    maps = []
    for first, second, third in means.powers:
        weights = pixel_weights(NUMPY, second, third, a) * relu(NUMPY, first) * chosen
        totals = weights.sum(axis=CELLS, keepdims=True)
        maps.append(relu(NUMPY, NUMPY.weighted(totals, a)))
    return np.stack(maps).astype(np.float32)
