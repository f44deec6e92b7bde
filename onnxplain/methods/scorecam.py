"""Score-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxplain.execution.subject import Subject
from onnxplain.formulas.namespace import Namespace, relu
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import Maps, collect, rows_and_columns
from onnxplain.methods.layer_maps import SampledLayerMethod
from onnxplain.methods.options import Baseline, Score
from onnxplain.transforms.masks import Upsampled


@dataclass(frozen=True, kw_only=True)
class ScoreCAM(SampledLayerMethod):
    """ReLU(Σ_k w_k A^k), w = softmax(C), C_k = S(x' + H_k ⊙ (x − x')) − S(x').

    H_k is channel k of the activation, enlarged bilinearly to the input and scaled to [0, 1]; x' is
    the baseline. A constant channel has H = 0, so that its C is 0 and no pass is spent on it.

    Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
    CVPR workshops 2020.
    """

    name: ClassVar[str] = "scorecam"
    summary: ClassVar[str] = "channels weighted by the score of the picture seen through them"
    paper: ClassVar[str] = "Wang 2020"
    cost: ClassVar[str] = "2 + one per channel"

    score: Score = "probability"
    baseline: Baseline = "black"

    def map(self, xp: Namespace, a: Any, gains: Any) -> Any:
        """The formula; `gains` are C, (..., channels, 1, 1)."""
        return relu(xp, xp.weighted(xp.softmax(gains, axis=-3), a))

    def map_at(self, subject: Subject) -> Maps:
        """See `SampledLayerMethod`.

        Raises:
            OptionError: the input is no picture.
        """
        axes = rows_and_columns(self.name, subject)
        activation = subject.activation()
        varied = np.flatnonzero(np.ptp(activation, axis=(1, 2)) > 0)
        mask = Upsampled(axes, (activation.shape[1], activation.shape[2]))
        baseline = subject.baseline(self.baseline)
        gains = np.zeros((len(activation), len(subject.scores)))
        if len(varied):
            scores = collect(subject.perturbed(mask, {"grid": activation[varied]}, baseline))
            gains[varied] = scores - subject.scores_of(baseline)
        values = self.map(NUMPY, activation.astype(np.float64), gains.T[..., None, None])
        return Maps(
            values.astype(np.float32),
            {"forward_passes": 2 + len(varied), "skipped_channels": len(activation) - len(varied)},
        )
