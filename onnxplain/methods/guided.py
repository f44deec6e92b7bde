"""Methods in which ReLUs pass only positive gradients back."""

from __future__ import annotations

from dataclasses import dataclass

from onnxplain.autodiff.propagation.guided import DECONVNET, GUIDED
from onnxplain.execution.wants import InputGradient
from onnxplain.methods.gradient import BackwardMethod


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(BackwardMethod):
    """The gradient with another rule for rectifiers: pass g where g > 0 and the unit is active.

    Rectifiers are Relu, ReLU6 (Clip from 0), LeakyRelu, PRelu and ThresholdedRelu, and quantizers
    that a Relu was merged into. The map shows edges rather than the class: it hardly changes with
    the target.

    Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshops 2015.
    """

    name = "guided_backprop"
    summary = "the gradient along active units that speak for the score"
    paper = "Springenberg 2014"
    wants = (InputGradient(GUIDED),)


@dataclass(frozen=True, kw_only=True)
class Deconvnet(BackwardMethod):
    """The gradient with another rule for rectifiers: pass g where g > 0, even if not active.

    Max pooling passes it to the position of the maximum. Rectifiers are as in guided_backprop. In a
    network without max pooling, the map hardly depends on the picture: use guided_backprop there.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    """

    name = "deconvnet"
    summary = "the score sent back through rectifiers, whatever the picture"
    paper = "Zeiler 2013"
    wants = (InputGradient(DECONVNET),)
