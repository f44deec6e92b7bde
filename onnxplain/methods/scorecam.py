"""Score-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Feeds, Given
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.formulas.namespace import Namespace, relu
from onnxplain.methods.base import ScoredMethod, Sums, rows_and_columns
from onnxplain.methods.layer_maps import LayerMapsMethod, one_of_each
from onnxplain.methods.options import Baseline, Score
from onnxplain.transforms.masks import Upsampled


@dataclass(frozen=True, kw_only=True)
class ScoreCAM(LayerMapsMethod, ScoredMethod):
    """ReLU(Σ_k w_k A^k), w = softmax(C), C_k = S(x' + H_k ⊙ (x − x')) − S(x').

    H_k is channel k of the activation, enlarged bilinearly to the input and scaled to [0, 1]; x' is
    the baseline. A constant channel has H = 0, so its C is 0 and it needs no pass.

    Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
    CVPR workshops 2020.
    """

    name = "scorecam"
    summary = "channels weighted by the score of the picture masked by them"
    weights_channels = True
    sums_channels = True
    paper = "Wang 2020"
    cost = "2 + one per channel"

    score: Score = "probability"
    baseline: Baseline = "black"

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        rows_and_columns(self.name, scene)

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """The sample masked by each channel that is not constant."""
        scene, (layer, a), xp = original.scene, original.at_layer, original.scene.xp
        varied, count = xp.true_places(xp.max(a, axis=-1) > xp.min(a, axis=-1))
        mask = Upsampled(rows_and_columns(self.name, scene), (layer.grid[0], layer.grid[1]))
        baseline = scene.baseline(self.baseline)

        def grids(part: Any) -> dict[str, Any]:
            channels = xp.rows(a, xp.rows(varied, part))
            return {"grid": xp.real(xp.unflattened(channels, layer.grid))}

        return [
            Sampling(
                Blend(mask, Feeds(count, grids), baseline),
                one_of_each(xp, varied, layer.channels),
                Given(1, lambda _: baseline),
                lambda: {"skipped_channels": layer.channels - count},
            )
        ]

    def terms(self, xp: Namespace, original: Original, score: Any, channel: Any) -> Sums:
        """See `SampledMethod`; `channel` is 1 at the channel of each sample, else 0."""
        return {"gains": xp.matmul(score - original.absent, channel)}

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """See the class."""
        _, a = original.at_layer
        return relu(xp, xp.combined(xp.softmax(sums["gains"], axis=-1), a))
