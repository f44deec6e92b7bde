"""Maps from a layer's activations and the gradient of the score with respect to them.

In the formulas, A^k is channel k of the activation, g^k the gradient of the score with respect to
it, and sums without a range are over the cells of the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from onnxplain.execution.wants import Activation, LayerGradient, LayerHessianProduct, Want
from onnxplain.formulas.namespace import Namespace, largest, quotient, relu
from onnxplain.methods.base import SinglePassMethod
from onnxplain.methods.layer_maps import CELLS, LayerMapsMethod
from onnxplain.methods.options import Option, Switch
from onnxplain.tensors import FloatArray

_NO_GRADIENT = (
    "The gradient of the target at this layer is 0 in every cell, so that nothing in it changes "
    "the score; try another layer or target."
)

_NOTHING_FOR = (
    "Nothing in this layer raises the target's score, and what lowers it counts as 0; try "
    "another layer or target, or gradcam without relu."
)

_NO_ACTIVATION = (
    "Every activation of this layer is 0, so that there is nothing to weight; try another layer."
)

_NOTHING_AGAINST = (
    "Nothing in this layer lowers the target's score, and what raises it counts as 0; try "
    "another layer or target, or gradcam without counterfactual."
)

_NO_MEAN = (
    "The channels, weighted by their mean gradients, cancel in every cell; try another layer, or "
    "layercam, which weights every cell by its own gradient."
)

_CANCELED = (
    "In every cell the products of activation and gradient cancel, as they do before a layer "
    "normalization, whose output does not depend on the scale of its input; use layercam or "
    "gradcam."
)

_NO_CURVATURE = (
    "The second derivative of the target at this layer is 0, so that the map is that of gradcam; "
    "try the score probability."
)

_ROUNDING = 1e-5
"""Rounding error of a sum that cancels in float32, relative to the sum of absolute values."""

VOLUME = (-3, -2, -1)


@dataclass(frozen=True, kw_only=True)
class GradientCAM(LayerMapsMethod, SinglePassMethod):
    """A method that combines a layer's activation `a` with the gradient `g` at it."""

    needs_gradient = True
    sums_channels = True
    cost = "1 with a backward to the layer"
    wants: ClassVar[Sequence[Want]] = (Activation(), LayerGradient())

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """The largest activation and gradient, which show why a map is 0 everywhere."""
        a, g, *_ = wanted
        return {"activation": largest(xp, a, VOLUME), "gradient": largest(xp, g, VOLUME)}

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """See `SinglePassMethod`."""
        return {} if values.any() else {"warnings": [self.why_zero(report)]}

    def why_zero(self, report: Mapping[str, float]) -> str:
        """Why a map is 0 everywhere, and what to do."""
        if not report["gradient"]:
            return _NO_GRADIENT
        return self.nothing if report["activation"] else _NO_ACTIVATION

    @property
    def nothing(self) -> str:
        """Why a map is 0 everywhere although activation and gradient are not, and what to do."""
        return _NOTHING_FOR


def net(xp: Namespace, a: Any, g: Any) -> Any:
    """Σ_k g^k ⊙ A^k; 0 where it is only a rounding error."""
    total, sizes = xp.weighted(g, a), xp.sum(xp.abs(g * a), axis=-3)
    return xp.where(xp.abs(total) > sizes * _ROUNDING, total, 0.0)


@dataclass(frozen=True, kw_only=True)
class GradCAM(GradientCAM):
    """ReLU(Σ_k α_k A^k), α_k = the mean of g^k over the cells.

    `counterfactual` uses −g, and shows what lowers the target's score. Without `relu`, the map is
    signed.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017.
    """

    name = "gradcam"
    summary = "channels weighted by their mean gradient"
    weights_channels = True
    paper = "Selvaraju 2017"

    relu: Annotated[Switch, Option("", "Keep only what raises the score, in gradcam.")] = True
    counterfactual: Annotated[Switch, Option("", "Show what lowers the score, in gradcam.")] = False

    def map(self, xp: Namespace, a: Any, g: Any) -> Any:
        """See the class."""
        alpha = xp.mean(-g if self.counterfactual else g, axis=CELLS, keepdims=True)
        values = xp.weighted(alpha, a)
        return relu(xp, values) if self.relu else values

    @property
    def nothing(self) -> str:
        """See `GradientCAM`."""
        if not self.relu:
            return _NO_MEAN
        return _NOTHING_AGAINST if self.counterfactual else _NOTHING_FOR


@dataclass(frozen=True, kw_only=True)
class ShapleyCAM(GradientCAM):
    """ReLU(Σ_k w_k A^k), w_k = the mean of (g − H A / 2)^k over the cells.

    H has the second derivatives of the score with respect to the activation A. The weights are
    estimates, by a Taylor series of the score to the second order, of how much the score changes
    if the channel is removed. After the last rectifier of a network, and wherever only piecewise
    linear operators follow, H is 0 for a logit, and the map is that of gradcam; for a probability
    it is not. The paper also proposes a score of its own, which is not here.

    Cai, "CAMs as Shapley Value-based Explainers", The Visual Computer 2025.
    """

    name = "shapleycam"
    summary = "gradcam with second derivatives"
    weights_channels = True
    paper = "Cai 2025"
    cost = "1 with two backwards to the layer"
    wants = (Activation(), LayerGradient(), LayerHessianProduct())

    def map(self, xp: Namespace, a: Any, g: Any, product: Any) -> Any:
        """See the class."""
        weights = xp.mean(g - 0.5 * product, axis=CELLS, keepdims=True)
        return relu(xp, xp.weighted(weights, a))

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """See `GradientCAM`; and the largest second-order term."""
        return {**super().report(xp, *wanted), "curvature": largest(xp, wanted[2], VOLUME)}

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """See `SinglePassMethod`."""
        found = super().diagnostics_of(values, score, report)
        return found if report["curvature"] or found else {"warnings": [_NO_CURVATURE]}


@dataclass(frozen=True, kw_only=True)
class GradCAMPlusPlus(GradientCAM):
    """ReLU(Σ_k w_k A^k), w_k = Σ α^k ReLU(g^k), α^k = (g^k)² / (2 (g^k)² + Σ A^k · (g^k)³).

    As in the paper, these are derivatives of Y = exp(S) for a piecewise linear network: the second
    derivative is exp(S) g², the third is exp(S) g³, and exp(S) cancels in α. The paper's weights
    have another factor exp(S), one positive number for the whole map; it is omitted here. Where g
    is 0, α is 0.

    Chattopadhay et al., "Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
    Convolutional Networks", WACV 2018.
    """

    name = "gradcam++"
    summary = "channels weighted by their positive gradients, cell by cell"
    weights_channels = True
    paper = "Chattopadhay 2018"

    def map(self, xp: Namespace, a: Any, g: Any) -> Any:
        """See the class."""
        # Divide by the largest gradient: squares of small gradients would be 0 in float32.
        unit = largest(xp, g, VOLUME, keepdims=True)
        share = quotient(xp, g, unit)
        weights = pixel_weights(xp, share**2, unit * share**3, a) * relu(xp, g)
        return relu(xp, xp.weighted(xp.sum(weights, axis=CELLS, keepdims=True), a))


def pixel_weights(xp: Namespace, second: Any, third: Any, a: Any) -> Any:
    """α of Grad-CAM++ from the second and third powers of the gradient; 0 where they are 0."""
    return quotient(xp, second, 2 * second + xp.sum(a, axis=CELLS, keepdims=True) * third)


@dataclass(frozen=True, kw_only=True)
class XGradCAM(GradientCAM):
    """ReLU(Σ_k α_k A^k), α_k = Σ (A^k / Σ A^k) g^k: the gradient's mean, weighted by activation.

    If the activation of a channel adds up to 0, its α is 0.

    Fu et al., "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs",
    BMVC 2020.
    """

    name = "xgradcam"
    summary = "channels weighted by their gradient where they are active"
    weights_channels = True
    paper = "Fu 2020"

    def map(self, xp: Namespace, a: Any, g: Any) -> Any:
        """See the class."""
        total = xp.sum(a, axis=CELLS, keepdims=True)
        product = xp.sum(a * g, axis=CELLS, keepdims=True)
        return relu(xp, xp.weighted(quotient(xp, product, total), a))


@dataclass(frozen=True, kw_only=True)
class HiResCAM(GradientCAM):
    """Σ_k g^k ⊙ A^k, signed.

    If only pooling and one linear layer follow, the sum of the map is the score minus the bias. A
    cell is set to 0 if its products cancel except for rounding. Before a layer normalization this
    happens in all cells, because the output of a layer normalization does not depend on the scale
    of its input. So the default layer of a vision transformer is after it.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
    neural networks", 2020.
    """

    name = "hirescam"
    summary = "the activation times its gradient, cell by cell"
    paper = "Draelos 2020"
    nothing = _CANCELED

    def map(self, xp: Namespace, a: Any, g: Any) -> Any:
        """See the class."""
        return net(xp, a, g)


@dataclass(frozen=True, kw_only=True)
class ODAM(HiResCAM):
    """ReLU(Σ_k g^k ⊙ A^k), for a box that a detector finds.

    The paper smooths g^k in some models; this is the formula without smoothing.

    Zhao and Chan, "ODAM: Gradient-based Instance-Specific Visual Explanations for Object
    Detection", ICLR 2023.
    """

    name = "odam"
    summary = "hirescam without its negative part, for a detected box"
    paper = "Zhao 2023"

    def map(self, xp: Namespace, a: Any, g: Any) -> Any:
        """See the class."""
        return relu(xp, super().map(xp, a, g))


@dataclass(frozen=True, kw_only=True)
class LayerCAM(GradientCAM):
    """ReLU(Σ_k ReLU(g^k) ⊙ A^k).

    Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE
    TIP 2021.
    """

    name = "layercam"
    summary = "the activation times its positive gradient; for early layers too"
    paper = "Jiang 2021"

    def map(self, xp: Namespace, a: Any, g: Any) -> Any:
        """See the class."""
        return relu(xp, xp.weighted(relu(xp, g), a))


@dataclass(frozen=True, kw_only=True)
class EigenGradCAM(GradientCAM):
    """Projection of g ⊙ A on its first principal direction, without centering.

    The sign of a singular vector is arbitrary; it is chosen so that the map agrees with hirescam,
    where positive values raise the target's score. If hirescam is 0 everywhere, it is chosen so
    that the sum of the map is positive.

    Gildenblat et al., pytorch-grad-cam, 2021, after Muhammad and Yeasin 2020.
    """

    name = "eigengradcam"
    summary = "first principal component of activation times gradient"
    paper = "Gildenblat 2021"
    needs_sizes = True
    sums_channels = False

    def map(self, xp: Namespace, a: Any, g: Any) -> Any:
        """See the class."""
        product = g * a
        projected, _ = xp.principal(product)
        agreement = xp.sum(projected * net(xp, a, g), axis=CELLS, keepdims=True)
        total = xp.sum(projected, axis=CELLS, keepdims=True)
        sign = xp.where(agreement == 0, total, agreement)
        return xp.where(sign < 0, -projected, projected)
