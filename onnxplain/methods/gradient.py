"""Methods that use the gradient of the score with respect to the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from onnxplain.execution.baselines import Scene
from onnxplain.execution.wants import Input, InputGradient
from onnxplain.formulas.low_pass import low_pass
from onnxplain.formulas.namespace import Namespace, largest, total
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import InputMethod, SinglePassMethod, besides, rows_and_columns
from onnxplain.methods.options import NumberOrNone, Option
from onnxplain.tensors import FloatArray

_PERCENTILE = 99

_ROUNDING = 1e-5
"""Numbers with a smaller relative difference count as equal."""

_EVERY = 4
"""The fast check reads one of this many rows."""


@dataclass(frozen=True, kw_only=True)
class InputGradientMethod(InputMethod):
    """A method whose values are input gradients or computed from them.

    The heatmap is their sum over channels. With `sigma`, the values are the heatmap without its
    frequencies above sigma periods over the shorter side of the input, one value for each pixel:
    Muzellec et al., "Saliency strikes back: How filtering out high frequencies improves white-box
    explanations", ICML 2024. Their filter (FORGrad) has a sigma of 15 for most networks.
    """

    needs_gradient = True
    over_channels: ClassVar[Callable[..., Any]] = staticmethod(total)
    over_embedding: ClassVar[Callable[..., Any]] = staticmethod(np.sum)

    sigma: Annotated[
        NumberOrNone, Option("PERIODS", "Remove what varies faster over the input's shorter side.")
    ] = None

    def check_sample(self, scene: Scene) -> None:
        """See `Method`; `sigma` is for inputs with rows and columns."""
        if self.sigma is not None:
            self.require(self.sigma > 0, "a sigma > 0, periods over the shorter side of the input")
            rows_and_columns("sigma", scene, instead=f"{self.name} without it")
        super().check_sample(scene)

    def filtered(self, xp: Namespace, values: Any, spatial: tuple[int, ...]) -> Any:
        """See `Method` and the class; the axis of channels is kept, with one entry."""
        if self.sigma is None:
            return values
        rest, rank = besides(values, spatial), len(values.shape)
        shown = self.over_channels(xp, values, axis=rest, keepdims=True) if rest else values
        rows, columns = (axis - rank for axis in spatial)
        return low_pass(xp, shown, (rows, columns), self.sigma)

    def heats(self, xp: Namespace, values: Any, spatial: tuple[int, ...]) -> Any:
        """See `Method`; capped, unless each value is drawn by itself, as those of a row are."""
        heat = super().heats(xp, values, spatial)
        is_row = len(spatial) == 1 and len(values.shape) == 2
        return heat if is_row else capped(xp, heat)

    def is_varied(self, values: FloatArray, spatial: tuple[int, ...]) -> bool:
        """See `Method`; True if more pixels differ from the smallest than `capped` cuts off."""
        rows = (slice(None),) * (spatial[0] - 1) + (slice(None, None, _EVERY),)
        sizes = np.abs(super().heats(NUMPY, values[rows][None], spatial))
        larger = np.count_nonzero(sizes > sizes.min() * (1 + _ROUNDING))
        return bool(larger > 2 * (1 - _PERCENTILE / 100) * _EVERY * sizes.size + 1)


@dataclass(frozen=True, kw_only=True)
class MagnitudeMethod(InputGradientMethod):
    """A method whose heatmap is the largest absolute value over channels, without its sign.

    The value of a token is the length of the gradient, its L2 norm over the embedding.
    """

    values_are_magnitudes = True
    over_embedding: ClassVar[Callable[..., Any]] = staticmethod(np.linalg.norm)
    over_channels: ClassVar[Callable[..., Any]] = staticmethod(largest)


@dataclass(frozen=True, kw_only=True)
class BackwardMethod(InputGradientMethod, SinglePassMethod):
    """A method of one backward pass to the input; by default its values are that gradient."""

    cost = "1 with a backward"

    def map(self, xp: Namespace, *wanted: Any, **_: Any) -> Any:
        """The gradient, computed with the rules that are wanted."""
        (gradient,) = wanted
        return gradient


@dataclass(frozen=True, kw_only=True)
class Gradient(MagnitudeMethod, BackwardMethod):
    """∂S/∂x, also called saliency map.

    The heatmap is the largest absolute value over the channels, as in the paper.

    Simonyan et al., "Deep Inside Convolutional Networks: Visualising Image Classification Models
    and Saliency Maps", ICLR workshops 2014.
    """

    name = "gradient"
    summary = "how fast the score changes with each input value"
    paper = "Simonyan 2013"
    wants = (InputGradient(),)


@dataclass(frozen=True, kw_only=True)
class InputXGradient(BackwardMethod):
    """x ⊙ ∂S/∂x.

    Shrikumar et al., "Not Just a Black Box: Learning Important Features Through Propagating
    Activation Differences", 2016.
    """

    name = "input_x_gradient"
    summary = "the input times its gradient"
    paper = "Shrikumar 2016"
    wants = (Input(), InputGradient())

    def map(self, xp: Namespace, x: Any, g: Any) -> Any:
        """See the class."""
        return x * g


def capped(xp: Namespace, heat: Any) -> Any:
    """Maps (N, ...) with their absolute values limited to their 99th percentile, for display.

    Otherwise a few very large pixels would make all others dark (Smilkov et al., "SmoothGrad:
    removing noise by adding noise", 2017, section 3.1). The method's values are never limited.
    """
    limit = xp.percentile(xp.abs(heat), _PERCENTILE)
    return xp.where(limit == 0, heat, xp.clip(heat, -limit, limit))
