"""Grad-CAM at the resolution of the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxplain.autodiff.propagation.guided import GUIDED
from onnxplain.execution.baselines import Scene
from onnxplain.execution.wants import Activation, InputGradient, LayerGradient, Want
from onnxplain.formulas.namespace import Namespace, interpolation_sizes, relu
from onnxplain.methods.base import LayerMethod, SinglePassMethod, rows_and_columns
from onnxplain.methods.gradcam import CELLS, GradCAM
from onnxplain.methods.gradient import InputGradientMethod
from onnxplain.tensors import FloatArray


@dataclass(frozen=True, kw_only=True)
class GuidedGradCAM(InputGradientMethod, LayerMethod, SinglePassMethod):
    """Grad-CAM, enlarged bilinearly to the input, times guided backpropagation.

    gradcam shows where the class is, and guided_backprop adds the details there.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017.
    """

    name: ClassVar[str] = "guided_gradcam"
    summary: ClassVar[str] = "guided backpropagation where gradcam is high"
    paper: ClassVar[str] = "Selvaraju 2017"
    cost: ClassVar[str] = "1 with a backward"
    needs_sizes: ClassVar[bool] = True
    wants: ClassVar[Sequence[Want]] = (
        Activation(),
        LayerGradient(),
        InputGradient(GUIDED, planes=True),
    )

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
