"""Methods made of gradients of the score by the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxplain.execution.wants import Input, InputGradient, Want
from onnxplain.formulas.namespace import Namespace
from onnxplain.methods.base import Method, SinglePassMethod
from onnxplain.tensors import FloatArray

_PERCENTILE = 99


@dataclass(frozen=True, kw_only=True)
class InputGradientMethod(Method):
    """A method whose values are gradients by the input, or made from them, in its shape."""

    needs_gradient: ClassVar[bool] = True

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """The sum over the channels, capped."""
        rest = tuple(i for i in range(values.ndim) if i + 1 not in spatial)
        return capped(values.sum(axis=rest))


@dataclass(frozen=True, kw_only=True)
class MagnitudeMethod(InputGradientMethod):
    """A method of which the sizes of the values are shown, whatever their sign."""

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """The largest absolute value over the channels, capped."""
        rest = tuple(i for i in range(values.ndim) if i + 1 not in spatial)
        return capped(np.abs(values).max(axis=rest))


@dataclass(frozen=True, kw_only=True)
class Gradient(MagnitudeMethod, SinglePassMethod):
    """∂S/∂x, also called saliency map.

    The heatmap is the largest absolute value over the channels, as in the paper.

    Simonyan et al., "Deep Inside Convolutional Networks: Visualising Image Classification Models
    and Saliency Maps", ICLR workshops 2014.
    """

    name: ClassVar[str] = "gradient"
    summary: ClassVar[str] = "how fast the score changes with each input value"
    paper: ClassVar[str] = "Simonyan 2013"
    cost: ClassVar[str] = "1 with a backward"

    @property
    def wants(self) -> Sequence[Want]:
        """See `SinglePassMethod`."""
        return (InputGradient(),)

    def map(self, xp: Namespace, g: Any) -> Any:
        """The gradient."""
        return g


@dataclass(frozen=True, kw_only=True)
class InputXGradient(InputGradientMethod, SinglePassMethod):
    """x ⊙ ∂S/∂x.

    Shrikumar et al., "Not Just a Black Box: Learning Important Features Through Propagating
    Activation Differences", 2016.
    """

    name: ClassVar[str] = "input_x_gradient"
    summary: ClassVar[str] = "the input times its gradient"
    paper: ClassVar[str] = "Shrikumar 2016"
    cost: ClassVar[str] = "1 with a backward"

    @property
    def wants(self) -> Sequence[Want]:
        """See `SinglePassMethod`."""
        return Input(), InputGradient()

    def map(self, xp: Namespace, x: Any, g: Any) -> Any:
        """See the class."""
        return x * g


def capped(heat: FloatArray) -> FloatArray:
    """A map of single pixels with its few largest magnitudes cut off at the 99th percentile.

    A handful of pixels would else leave all others dark (Smilkov et al., "SmoothGrad: removing
    noise by adding noise", 2017, section 3.1). Values themselves are never cut.
    """
    limit = np.percentile(np.abs(heat), _PERCENTILE)
    return heat if limit == 0 else np.clip(heat, -limit, limit).astype(np.float32)
