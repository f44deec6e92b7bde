"""Maps made of a layer's activations and the gradient of the score by them.

In the formulas A^k is channel k of the activation, g^k the gradient of the score by it, and sums
without a range run over the cells of the grid.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from onnxplain.methods.base import Maps, Subject
from onnxplain.methods.cam import principal
from onnxplain.methods.layer_maps import LayerMaps, LayerMapsMethod
from onnxplain.methods.points import passes, together
from onnxplain.tensors import Array, FloatArray

_NO_GRADIENT = (
    "The gradient of the target by this layer is 0 in every cell, so that nothing in it changes "
    "the score; try another layer or target."
)

_NOTHING_FOR = (
    "Nothing in this layer speaks for the target, and what speaks against it counts as 0; try "
    "another layer or target, or gradcam without relu."
)

_NO_ACTIVATION = (
    "Every activation of this layer is 0, so that there is nothing to weight; try another layer."
)

_NOTHING_AGAINST = (
    "Nothing in this layer speaks against the target, and what speaks for it counts as 0; try "
    "another layer or target, or gradcam without counterfactual."
)

_NO_MEAN = (
    "The channels, weighted by their mean gradients, cancel in every cell; try another layer, or "
    "layercam, which weights every cell by its own gradient."
)

_CANCELLED = (
    "In every cell the products of activation and gradient cancel, as they do in front of a layer "
    "normalisation, whose answer does not depend on the length of what it reads; use layercam or "
    "gradcam."
)

_ROUNDING = 1e-5
"""What cancelling leaves of products in float32, in units of the sum of their sizes."""


@dataclass(frozen=True, kw_only=True)
class GradientCAM(LayerMapsMethod):
    """A method that combines a layer's activation with one gradient by it."""

    needs_gradient: ClassVar[bool] = True
    cost: ClassVar[str] = "1 + one head pass with a backward"

    @abstractmethod
    def combine(self, g: Array, a: Array) -> Array:
        """The map (rows, columns) of a gradient and an activation, (channels, rows, columns)."""

    def maps_at(self, subject: Subject) -> LayerMaps:
        """See `LayerMapsMethod`."""
        count = len(subject.scores)
        # One group after the other: gradients of all targets by many layers would fill the memory.
        groups = [
            [self._maps(subject.at(layer), some) for layer in subject.layers]
            for some in together(count)
        ]
        maps = []
        for parts in zip(*groups, strict=True):
            values, told = zip(*chain.from_iterable(parts), strict=True)
            maps.append(Maps(np.stack(values), each=told))
        return LayerMaps(maps, passes(1, count) | {"forward_passes": 1})

    def _maps(
        self, subject: Subject, targets: Sequence[int]
    ) -> list[tuple[FloatArray, dict[str, Any]]]:
        """The maps of some targets at one layer, and what is told of each."""
        a, found = subject.activation().astype(np.float64), []
        for slopes in subject.layer_gradient(targets):
            g = slopes.astype(np.float64)
            values = self.combine(g, a).astype(np.float32)
            found.append((values, {} if values.any() else {"warnings": [self.why_zero(g, a)]}))
        return found

    def why_zero(self, g: Array, a: Array) -> str:
        """Why the map of a gradient and an activation is 0 everywhere, and what to do."""
        if not g.any():
            return _NO_GRADIENT
        return self.nothing if a.any() else _NO_ACTIVATION

    @property
    def nothing(self) -> str:
        """Why, where neither is 0 everywhere."""
        return _NOTHING_FOR


def weighted(weights: Array, a: Array) -> Array:
    """Σ_k w_k A^k."""
    return np.asarray(np.tensordot(weights, a, axes=1))


def net(product: Array) -> Array:
    """The sum over the channels, 0 where it is nothing but rounding."""
    total = product.sum(axis=0)
    return np.where(np.abs(total) > _ROUNDING * np.abs(product).sum(axis=0), total, 0)


def positive(values: Array) -> Array:
    """ReLU."""
    return np.asarray(np.maximum(values, 0))


@dataclass(frozen=True, kw_only=True)
class GradCAM(GradientCAM):
    """ReLU(Σ_k α_k A^k), α_k = the mean of g^k over the cells.

    `counterfactual` takes −g: what speaks against the target. Without `relu` the map is signed.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017.
    """

    name: ClassVar[str] = "gradcam"
    summary: ClassVar[str] = "channels weighted by their mean gradient"
    paper: ClassVar[str] = "Selvaraju 2017"

    relu: bool = True
    counterfactual: bool = False

    def combine(self, g: Array, a: Array) -> Array:
        """See the class."""
        alpha = g.mean(axis=(1, 2)) * (-1 if self.counterfactual else 1)
        values = weighted(alpha, a)
        return positive(values) if self.relu else values

    @property
    def nothing(self) -> str:
        """See `GradientCAM`."""
        if not self.relu:
            return _NO_MEAN
        return _NOTHING_AGAINST if self.counterfactual else _NOTHING_FOR


@dataclass(frozen=True, kw_only=True)
class GradCAMPlusPlus(GradientCAM):
    """ReLU(Σ_k w_k A^k), w_k = Σ α^k ReLU(g^k), α^k = (g^k)² / (2 (g^k)² + Σ A^k · (g^k)³).

    These are the paper's derivatives of Y = exp(S), for a network whose only kinks are rectifiers:
    the second is exp(S) g² and the third exp(S) g³, and exp(S) cancels in α. The paper's weights
    hold it once more, one positive number for the whole map, which is left out here. Where g is 0,
    so is α.

    Chattopadhay et al., "Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
    Convolutional Networks", WACV 2018.
    """

    name: ClassVar[str] = "gradcam++"
    summary: ClassVar[str] = "channels weighted by their positive gradients, cell by cell"
    paper: ClassVar[str] = "Chattopadhay 2018"

    def combine(self, g: Array, a: Array) -> Array:
        """See the class."""
        weights = (pixel_weights(g**2, g**3, a) * positive(g)).sum(axis=(1, 2))
        return positive(weighted(weights, a))


def pixel_weights(second: Array, third: Array, a: Array) -> Array:
    """α of Grad-CAM++ from the second and third powers of the gradient; 0 where they vanish."""
    below = 2 * second + a.sum(axis=(1, 2), keepdims=True) * third
    return np.asarray(np.divide(second, below, out=np.zeros_like(second), where=below != 0))


@dataclass(frozen=True, kw_only=True)
class XGradCAM(GradientCAM):
    """ReLU(Σ_k α_k A^k), α_k = Σ (A^k / Σ A^k) g^k: the gradient's mean, weighted by activation.

    A channel whose activation adds up to 0 has no such mean, and α = 0.

    Fu et al., "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs",
    BMVC 2020.
    """

    name: ClassVar[str] = "xgradcam"
    summary: ClassVar[str] = "channels weighted by their gradient where they are active"
    paper: ClassVar[str] = "Fu 2020"

    def combine(self, g: Array, a: Array) -> Array:
        """See the class."""
        total = a.sum(axis=(1, 2))
        product = (a * g).sum(axis=(1, 2))
        alpha = np.divide(product, total, out=np.zeros_like(total), where=total != 0)
        return positive(weighted(alpha, a))


@dataclass(frozen=True, kw_only=True)
class HiResCAM(GradientCAM):
    """Σ_k g^k ⊙ A^k, signed.

    Where only pooling and one linear layer follow, the map's sum is the score, less the bias. A
    cell whose products cancel to rounding is 0: in front of a layer normalisation all do, for its
    answer does not depend on the length of what it reads. The default layer of a vision transformer
    lies behind it.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
    neural networks", 2020.
    """

    name: ClassVar[str] = "hirescam"
    summary: ClassVar[str] = "the activation times its gradient, cell by cell"
    paper: ClassVar[str] = "Draelos 2020"

    def combine(self, g: Array, a: Array) -> Array:
        """See the class."""
        return net(g * a)

    @property
    def nothing(self) -> str:
        """See `GradientCAM`."""
        return _CANCELLED


@dataclass(frozen=True, kw_only=True)
class LayerCAM(GradientCAM):
    """ReLU(Σ_k ReLU(g^k) ⊙ A^k).

    Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE
    TIP 2021.
    """

    name: ClassVar[str] = "layercam"
    summary: ClassVar[str] = "the activation times its positive gradient; for early layers too"
    paper: ClassVar[str] = "Jiang 2021"

    def combine(self, g: Array, a: Array) -> Array:
        """See the class."""
        return positive((positive(g) * a).sum(axis=0))


@dataclass(frozen=True, kw_only=True)
class EigenGradCAM(GradientCAM):
    """Projection of g ⊙ A on its first principal direction, without centring.

    A singular vector has no sign of its own: it is chosen so that the map agrees with hirescam, and
    what is positive speaks for the target. Where hirescam is 0 everywhere, the map's sum is made
    positive.

    Gildenblat et al., pytorch-grad-cam, 2021, after Muhammad and Yeasin 2020.
    """

    name: ClassVar[str] = "eigengradcam"
    summary: ClassVar[str] = "first principal component of activation times gradient"
    paper: ClassVar[str] = "Gildenblat 2021"

    def combine(self, g: Array, a: Array) -> Array:
        """See the class."""
        product = g * a
        projected, _ = principal(product)
        agreement = (projected * net(product)).sum() or projected.sum()
        return projected if agreement >= 0 else -projected
