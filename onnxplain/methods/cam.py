"""Maps from one forward pass: the activations of a layer, weighted or unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import Annotated, Any

from onnxplain.analysis.layers import Layer
from onnxplain.errors import LayerError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.subject import Structure
from onnxplain.execution.wants import Activation, ClassWeights
from onnxplain.formulas.namespace import (
    Namespace,
    interpolation_sizes,
    largest,
    quotient,
    relu,
)
from onnxplain.methods.base import LayerMethod, SinglePassMethod
from onnxplain.methods.layer_maps import CELLS, LayerMapsMethod
from onnxplain.methods.options import Channel, Number, Option
from onnxplain.tensors import FloatArray

_NONE_STRONG = (
    "No cell of this layer is that many standard deviations above the mean of its channel, or all "
    "its activations are 0; try fewer deviations, or another layer."
)

_ALL_THE_SAME = (
    "All cells of this layer are the same, so that no cell stands out; try another layer."
)

_MOST_CELLS = 4096
"""The most cells of `kpcacam`: a matrix of every two cells is multiplied by itself."""


@dataclass(frozen=True, kw_only=True)
class CAM(SinglePassMethod):
    """Σ_k w_k A^k with the classifier's own weights w; A is what the global pool reads.

    With global average pooling, the mean of the map is the class's logit minus its bias.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016; with global
    max pooling Oquab et al., "Is object localization for free?", CVPR 2015.
    """

    name = "cam"
    summary = "the classifier's own weights on the last activations"
    paper = "Zhou 2016"
    cost = "1"
    sums_channels = True
    wants = (ClassWeights(), Activation())

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The tensor that the global pool reads.

        Raises:
            LayerError: there is no such pool, or the weights do not fit the pooled channels.
        """
        classifier = structure.classifier()
        layer, weights = structure.layer(classifier.layer), classifier.weights
        if weights is not None and weights.shape[1] != layer.channels:
            raise LayerError(
                f"CAM needs one weight for each channel, and here the linear layer reads "
                f"{weights.shape[1]} values from {layer.channels} channels: the pool before it is "
                "not global; use gradcam, ablationcam or scorecam."
            )
        return [layer]

    def map(self, xp: Namespace, w: Any, a: Any) -> Any:
        """See the class."""
        return xp.weighted(w, a)

    def facts(self, structure: Structure) -> dict[str, Any]:
        """How the activation is pooled."""
        return {"pooling": structure.classifier().pooling}


@dataclass(frozen=True, kw_only=True)
class RegressionActivationMap(CAM):
    """Σ_k w_k A^k with the weights w of a regression's output; A is what the global pool reads.

    This is cam for an output that is not a class. With global average pooling, the mean of the map
    is the predicted number minus the bias, and the sign shows which regions raise or lower it. The
    target is the output's index, 0 if there is only one.

    Wang and Yang, "Diabetic Retinopathy Detection via Deep Convolutional Networks for
    Discriminative Localization and Visual Explanation", 2017.
    """

    name = "regression_activation_map"
    summary = "cam for the output of a regression"
    paper = "Wang 2017"


@dataclass(frozen=True, kw_only=True)
class EigenCAM(LayerMapsMethod, SinglePassMethod):
    """Projection of the activation on its first principal direction: A · v₁, A = U Σ Vᵀ.

    A is (rows · columns, channels), without centering. The sign of a singular vector is arbitrary;
    it is chosen so that the sum of the map is positive. The method uses no class, so every target
    gets the same map.

    Muhammad and Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", IJCNN 2020.
    """

    name = "eigencam"
    summary = "first principal component of activations; the same for all classes"
    weights_channels = True
    paper = "Muhammad 2020"
    cost = "1"
    needs_sizes = True
    wants = (Activation(),)
    needs_target = False

    def map(self, xp: Namespace, a: Any) -> Any:
        """See the class."""
        projected, _ = xp.principal(a)
        negative = xp.sum(projected, axis=(-2, -1), keepdims=True) < 0
        return xp.where(negative, -projected, projected)

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """The direction's share of the sum of squares."""
        return {"explained_variance": xp.principal(*wanted)[1]}

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """See `SinglePassMethod`."""
        return dict(report)


@dataclass(frozen=True, kw_only=True)
class KPCACAM(LayerMapsMethod, SinglePassMethod):
    """First principal component of the cells' activations under a kernel: √λ₁ u₁, K̄ = U Λ Uᵀ.

    K_ij = tanh(x_i · x_j / C + 1), where x_i is the activation of cell i, minus the mean of each
    channel over the cells, and C the number of channels. K̄ is K with the mean of each row and of
    each column subtracted, and the total mean added. λ₁ is the largest eigenvalue; others may be
    negative. If two eigenvalues are nearly equal, the map is a mix of both components. The sign of
    an eigenvector is arbitrary; it is chosen so that the value with the largest size is positive,
    because the map's sum is 0. The method uses no class, so every target gets the same map. Its
    cost grows with the third power of the number of cells.

    Karmani et al., "KPCA-CAM: Visual Explainability of Deep Computer Vision Models using Kernel
    PCA", MMSP 2024; the kernel's constants and the means of channels are those of pytorch-grad-cam.
    """

    name = "kpcacam"
    summary = "first kernel principal component of activations; the same for all classes"
    paper = "Karmani 2024"
    cost = "1"
    needs_sizes = True
    wants = (Activation(),)
    needs_target = False

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layers that the user named.

        Raises:
            LayerError: one has too many cells.
        """
        found = super().layers(structure)
        for layer in found:
            if (cells := prod(layer.grid)) > _MOST_CELLS:
                raise LayerError(
                    f"The layer {layer.tensor!r} has {cells} cells, and kpcacam compares every two "
                    f"of at most {_MOST_CELLS}: name a layer with fewer cells, or use eigencam."
                )
        return found

    def map(self, xp: Namespace, a: Any) -> Any:
        """See the class."""
        cells = xp.merged(a)
        varied = cells - xp.mean(cells, axis=-1, keepdims=True)
        alike = xp.matmul(xp.transposed(varied), varied) / cells.shape[-2]
        kernel = xp.tanh(alike + 1.0)
        means = xp.mean(kernel, axis=-1, keepdims=True)
        kernel = kernel - means - xp.transposed(means) + xp.mean(means, axis=-2, keepdims=True)
        strength, direction = xp.leading(kernel)
        scores = xp.sqrt(relu(xp, strength)) * direction
        negative = xp.max(scores, axis=-1, keepdims=True) < -xp.min(scores, axis=-1, keepdims=True)
        return xp.unflattened(xp.where(negative, -scores, scores), interpolation_sizes(a.shape))

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """See `SinglePassMethod`."""
        return {} if values.any() else {"warnings": [_ALL_THE_SAME]}


@dataclass(frozen=True, kw_only=True)
class FEM(LayerMapsMethod, SinglePassMethod):
    """Σ_k w_k A^k, w_k = the share of cells where A^k > μ_k + K σ_k.

    μ_k is the mean of channel k over the cells, σ_k its standard deviation, and K the option
    `deviations`. If no cell is above the threshold in any channel, the map is 0 everywhere. The
    method uses no class, so every target gets the same map.

    Fuad et al., "Features Understanding in 3D CNNs for Actions Recognition in Video", IPTA 2020.
    """

    name = "fem"
    summary = "channels weighted by their share of rare, strong cells; the same for all classes"
    weights_channels = True
    paper = "Fuad 2020"
    cost = "1"
    sums_channels = True
    wants = (Activation(),)
    needs_target = False

    deviations: Annotated[
        Number, Option("COUNT", "Standard deviations above the mean from which a cell is strong.")
    ] = 2.0

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        # Below 1, rounding alone decides about a channel that is the same in all cells.
        self.require(1 <= self.deviations < inf, "deviations of at least 1")

    def map(self, xp: Namespace, a: Any) -> Any:
        """See the class."""
        above = a - xp.mean(a, axis=CELLS, keepdims=True)
        # Divide by the largest: squares of small numbers would be 0 in float32.
        share = quotient(xp, above, largest(xp, above, CELLS, keepdims=True))
        deviation = xp.sqrt(xp.mean(share**2, axis=CELLS, keepdims=True))
        strong = xp.where(share > self.deviations * deviation, 1.0, 0.0)
        return xp.weighted(xp.mean(strong, axis=CELLS, keepdims=True), a)

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """See `SinglePassMethod`."""
        return {} if values.any() else {"warnings": [_NONE_STRONG]}


@dataclass(frozen=True, kw_only=True)
class FeatureMaps(LayerMethod, SinglePassMethod):
    """The activations of a layer, (channels, rows, columns): what each filter responds to.

    They are drawn as a contact sheet, with each channel scaled to 0 to 255. The heatmap is their
    mean, or only the channel with the index `channel`.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    """

    name = "feature_maps"
    summary = "the activations of a layer as a contact sheet"
    paper = "Zeiler 2013"
    cost = "1"
    needs_target = False
    wants = (Activation(),)

    channel: Channel = None

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layer that the user named, or the last one with a grid.

        Raises:
            LayerError: there is no such layer, or it has no such channel.
        """
        (layer,) = super().layers(structure)
        check_channel(layer, self.channel)
        return [layer]

    def map(self, xp: Namespace, a: Any) -> Any:
        """The activation."""
        return a

    def sheet(self, values: FloatArray) -> FloatArray | None:
        """Every channel, or the chosen one; None without rows and columns."""
        if values.ndim != 3:
            return None
        return values if self.channel is None else values[self.channel : self.channel + 1]

    def heats(self, xp: Namespace, values: Any, spatial: tuple[int, ...]) -> Any:
        """The mean over the channels, or the chosen one."""
        if self.channel is not None:
            return xp.take(values, self.channel)
        return xp.mean(values, axis=1 - len(values.shape))


def check_channel(layer: Layer, channel: int | None) -> None:
    """Check that a layer has a channel with this index; None fits every layer.

    Raises:
        LayerError: the layer has no such channel.
    """
    if channel is not None and not 0 <= channel < layer.channels:
        raise LayerError(
            f"The layer {layer.tensor!r} has no channel {channel}: it has {layer.channels}, "
            f"0 to {layer.channels - 1}."
        )
