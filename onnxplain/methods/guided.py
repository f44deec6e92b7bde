"""Methods in which ReLUs pass only positive gradients back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxplain.autodiff.propagation.guided import DECONVNET, GUIDED
from onnxplain.execution.baselines import Scene
from onnxplain.execution.wants import Activation, InputGradient, LayerGradient
from onnxplain.formulas.namespace import Namespace, interpolation_sizes, relu
from onnxplain.methods.base import LayerMethod, rows_and_columns
from onnxplain.methods.gradcam import GradCAM
from onnxplain.methods.gradient import BackwardMethod
from onnxplain.methods.layer_maps import CELLS
from onnxplain.tensors import FloatArray


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(BackwardMethod):
    """The gradient with another rule for rectifiers: pass g where g > 0 and the unit is active.

    Rectifiers are Relu, ReLU6 (Clip from 0), LeakyRelu, PRelu and ThresholdedRelu, and quantizers
    that a Relu was merged into. The map shows edges rather than the class: it hardly changes with
    the target.

    Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshops 2015.
    """

    name = "guided_backprop"
    summary = "the gradient through active units that raise the score"
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


@dataclass(frozen=True, kw_only=True)
class GuidedGradCAM(BackwardMethod, LayerMethod):
    """Grad-CAM, enlarged bilinearly to the input, times guided backpropagation.

    gradcam shows where the class is, and guided_backprop adds the details there.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017.
    """

    name = "guided_gradcam"
    summary = "guided backpropagation where gradcam is high"
    paper = "Selvaraju 2017"
    needs_sizes = True
    wants = (Activation(), LayerGradient(), InputGradient(GUIDED, planes=True))

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        rows_and_columns(self.name, scene, instead="gradcam")

    def map(self, xp: Namespace, a: Any, g: Any, guided: Any) -> Any:
        """See the class."""
        alpha = xp.mean(g, axis=CELLS, keepdims=True)
        coarse = relu(xp, xp.sum(alpha * a, axis=-3, keepdims=True))
        return xp.resize(coarse, interpolation_sizes(guided.shape)) * guided

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """Numbers that show why the map of gradcam is 0 everywhere, and its largest value."""
        a, g, _ = wanted
        coarse = GradCAM().map(xp, a, g)
        return {**GradCAM().report(xp, a, g), "coarse": xp.max(coarse, axis=CELLS)}

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """See `SinglePassMethod`."""
        return {} if report["coarse"] else {"warnings": [GradCAM().why_zero(report)]}
