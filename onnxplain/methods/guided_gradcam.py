"""Grad-CAM at the resolution of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.autodiff.variants.guided import GUIDED
from onnxplain.images.geometry import upsample
from onnxplain.methods.base import LayerMethod, Maps, Subject, rows_and_columns
from onnxplain.methods.gradcam import GradCAM
from onnxplain.methods.gradient import InputGradientMethod, here


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
        coarse = GradCAM(score=self.score).map_at(subject)
        size = subject.x.shape[rows], subject.x.shape[columns]
        guided = np.concatenate(list(here(subject, GUIDED)))
        backwards = 2 * len(guided)
        return Maps(
            subject.spread(upsample(coarse.values, size)) * guided,
            {"forward_passes": 1 + len(guided), "backward_passes": backwards},
        )
