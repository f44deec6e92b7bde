"""Grad-CAM at the resolution of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxplain.autodiff.propagation.guided import GUIDED
from onnxplain.images.geometry import upsample
from onnxplain.methods.base import LayerMethod, Maps, Subject, rows_and_columns
from onnxplain.methods.gradcam import GradCAM
from onnxplain.methods.gradient import InputGradientMethod
from onnxplain.methods.points import passes


@dataclass(frozen=True, kw_only=True)
class GuidedGradCAM(InputGradientMethod, LayerMethod):
    """Grad-CAM, enlarged bilinearly to the input, times guided backpropagation.

    Where the class is comes from gradcam, what is seen there from guided_backprop.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017.
    """

    name: ClassVar[str] = "guided_gradcam"
    summary: ClassVar[str] = "guided backpropagation where gradcam is high"
    paper: ClassVar[str] = "Selvaraju 2017"
    cost: ClassVar[str] = "2 + one backward"

    def maps(self, subject: Subject) -> Maps:
        """See `Method`.

        Raises:
            OptionError: the input is no picture.
        """
        rows, columns = rows_and_columns(self.name, subject, instead="gradcam")
        coarse = GradCAM(score=self.score).maps(subject)
        size = subject.x.shape[rows], subject.x.shape[columns]
        guided = subject.gradient(GUIDED)
        told = passes(1, len(guided), before=1)
        told["backward_passes"] += coarse.diagnostics["backward_passes"]
        return Maps(subject.spread(upsample(coarse.values, size)) * guided, told, coarse.each)
