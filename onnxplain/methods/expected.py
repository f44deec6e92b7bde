"""Expected gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Given
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.methods.completeness import CompleteMethod, completeness
from onnxplain.methods.options import Option, SampleArray, Samples, Seed
from onnxplain.tensors import Array


@dataclass(frozen=True, kw_only=True)
class ExpectedGradients(CompleteMethod):
    """E[(x − x') ⊙ g(x' + α (x − x'))]: x' is one of `baselines`, α uniform between 0 and 1.

    `baselines` are samples in the form of the model's input, (n, ...); on the command line,
    pictures, .npy files and folders of them. `numpy.random.default_rng(seed)` draws the baseline of
    each of `samples` (integers(n)), then every α (random, in float32). The values add up to
    S(x) − mean S(x'), except for a random error, the `completeness_gap`.

    Erion et al., "Improving performance of deep learning models with axiomatic attribution priors
    and expected gradients", Nature Machine Intelligence 2021.
    """

    name = "expected_gradients"
    summary = "integrated gradients averaged over a set of baseline pictures"
    paper = "Erion 2021"
    cost = "1 + baselines + samples (200), each of these with a backward"

    baselines: Annotated[
        SampleArray,
        Option("PICTURES", "Pictures, .npy files, folders or patterns; may be repeated."),
    ] = None
    samples: Samples = 200
    seed: Seed = 0

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        self.require(self.samples >= 1 and self.seed >= 0, "samples >= 1 and seed >= 0")
        if not isinstance(self.baselines, np.ndarray):
            raise OptionError(
                f"{self.name} needs baselines: on the command line pictures or a .npy file "
                "(--baselines FOLDER), in Python an array of samples as the model takes them."
            )
        if self.baselines.shape[1:] != scene.shape[1:]:
            raise OptionError(
                f"The baselines have the shape {self.baselines.shape[1:]} each, and the model's "
                f"input has {scene.shape[1:]}."
            )

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """Random points between the sample and randomly drawn baselines."""
        scene, xp = original.scene, original.scene.xp
        given = np.asarray(self.baselines)
        random = np.random.default_rng(self.seed)
        drawn = random.integers(len(given), size=self.samples)
        shares = random.random((self.samples, *[1] * (len(scene.shape) - 1)), np.float32)
        starts = xp.constant(given)

        def points(part: Any) -> Any:
            share = xp.rows(shares, part)
            return share * scene.x + (1 - share) * xp.rows(starts, xp.rows(drawn, part))

        def ways(part: Any) -> Any:
            return (scene.x - xp.rows(starts, xp.rows(drawn, part))) / self.samples

        return [
            Sampling(
                Given(self.samples, points),
                ways,
                Given(len(given), lambda part: xp.rows(starts, part)),
            )
        ]

    def diagnostics_of(self, values: Array, change: float) -> dict[str, Any]:
        """See `SampledMethod`."""
        return completeness(values, change, "take more samples")
