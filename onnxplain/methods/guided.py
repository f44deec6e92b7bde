"""Methods whose rectifiers let back through only what speaks for the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxplain.autodiff.propagation.guided import DECONVNET, GUIDED
from onnxplain.autodiff.table import Rules
from onnxplain.methods.base import Maps, Subject
from onnxplain.methods.gradient import InputGradientMethod, passes_here


@dataclass(frozen=True, kw_only=True)
class _Rectified(InputGradientMethod):
    """A gradient by other rules."""

    rules: ClassVar[Rules]

    def maps(self, subject: Subject) -> Maps:
        """See `Method`."""
        values = subject.gradient(self.rules)
        return Maps(values, passes_here(values))


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(_Rectified):
    """The gradient with that of every rectifier replaced: g where g > 0 and the unit is active.

    Rectifiers are Relu, ReLU6 (Clip from 0), LeakyRelu, PRelu and ThresholdedRelu, and quantisers
    that a Relu was merged into. The map shows edges more than it shows the class: it hardly changes
    with the target.

    Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshops 2015.
    """

    name: ClassVar[str] = "guided_backprop"
    summary: ClassVar[str] = "the gradient along active units that speak for the score"
    paper: ClassVar[str] = "Springenberg 2014"
    cost: ClassVar[str] = "1 + one backward"
    rules: ClassVar[Rules] = GUIDED


@dataclass(frozen=True, kw_only=True)
class Deconvnet(_Rectified):
    """The gradient with that of every rectifier replaced: g where g > 0, active or not.

    Max pooling sends it to where the maximum came from. Rectifiers as in guided_backprop. In a net
    without max pooling hardly anything of the picture enters: use guided_backprop there.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    """

    name: ClassVar[str] = "deconvnet"
    summary: ClassVar[str] = "the score sent back through rectifiers, whatever the picture"
    paper: ClassVar[str] = "Zeiler 2013"
    cost: ClassVar[str] = "1 + one backward"
    rules: ClassVar[Rules] = DECONVNET
