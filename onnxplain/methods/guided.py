"""Methods in which ReLUs pass only positive gradients back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxplain.autodiff.propagation.guided import DECONVNET, GUIDED
from onnxplain.autodiff.table import Rules
from onnxplain.execution.wants import InputGradient, Want
from onnxplain.formulas.namespace import Namespace
from onnxplain.methods.base import SinglePassMethod
from onnxplain.methods.gradient import InputGradientMethod


@dataclass(frozen=True, kw_only=True)
class _Rectified(InputGradientMethod, SinglePassMethod):
    """A gradient with other rules for rectifiers."""

    rules: ClassVar[Rules]
    cost: ClassVar[str] = "1 with a backward"

    @property
    def wants(self) -> Sequence[Want]:
        """See `SinglePassMethod`."""
        return (InputGradient(self.rules),)

    def map(self, xp: Namespace, g: Any) -> Any:
        """The gradient computed with these rules."""
        return g


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(_Rectified):
    """The gradient with another rule for rectifiers: pass g where g > 0 and the unit is active.

    Rectifiers are Relu, ReLU6 (Clip from 0), LeakyRelu, PRelu and ThresholdedRelu, and quantizers
    that a Relu was merged into. The map shows edges rather than the class: it hardly changes with
    the target.

    Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshops 2015.
    """

    name: ClassVar[str] = "guided_backprop"
    summary: ClassVar[str] = "the gradient through active units that raise the score"
    paper: ClassVar[str] = "Springenberg 2014"
    rules: ClassVar[Rules] = GUIDED


@dataclass(frozen=True, kw_only=True)
class Deconvnet(_Rectified):
    """The gradient with another rule for rectifiers: pass g where g > 0, even if not active.

    Max pooling passes it to the position of the maximum. Rectifiers are as in guided_backprop. In a
    network without max pooling, the map hardly depends on the picture: use guided_backprop there.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    """

    name: ClassVar[str] = "deconvnet"
    summary: ClassVar[str] = "the score sent back through rectifiers, whatever the picture"
    paper: ClassVar[str] = "Zeiler 2013"
    rules: ClassVar[Rules] = DECONVNET
