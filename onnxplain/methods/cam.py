"""Maps from one forward pass: the activations of a layer, weighted or unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

from onnxplain.analysis.layers import Layer
from onnxplain.errors import LayerError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.subject import Structure
from onnxplain.execution.wants import Activation, ClassWeights
from onnxplain.formulas.namespace import Namespace, largest, quotient
from onnxplain.methods.base import LayerMethod, SinglePassMethod
from onnxplain.methods.layer_maps import CELLS, LayerMapsMethod
from onnxplain.methods.options import Channel, Number, Option
from onnxplain.tensors import FloatArray

_NONE_STRONG = (
    "No cell of this layer is that many standard deviations above the mean of its channel, or all "
    "its activations are 0; try fewer deviations, or another layer."
)


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
