"""Maximal sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from onnxplain.errors import MapError
from onnxplain.methods.options import Number, Option
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.metric import Measured, Metric
from onnxplain.metrics.options import MetricSeed, NrSamples
from onnxplain.tensors import FloatArray


@dataclass(frozen=True, kw_only=True)
class MaxSensitivity(Metric):
    """max over δ of ‖Φ(x + δ) − Φ(x)‖ / ‖Φ(x)‖, with uniform δ in [−r, r], r = radius · range.

    Φ are the method's values, the norm is Euclidean, and the range is max x − min x.

    Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019. Cost:
    nr_samples maps of the method.
    """

    name = "max_sensitivity"
    summary = "how far the map changes when the sample changes a little"
    paper = "Yeh 2019"
    cost = "nr_samples maps (10)"
    good = "lower"
    misleads = (
        "a map that does not depend on the sample at all has 0, the best value: read it with a "
        "metric of faithfulness"
    )

    nr_samples: NrSamples = 10
    perturb_radius: Annotated[
        Number, Option("SHARE", "Largest change of an element, as a share of the input's range.")
    ] = 0.02
    seed: MetricSeed = 0

    def copies(self, x: FloatArray) -> FloatArray:
        """The changed samples, (nr_samples, ...), of the sample `x`, (1, ...)."""
        fits = self.nr_samples >= 1 and self.perturb_radius >= 0 and self.seed >= 0
        self.require(fits, "nr_samples >= 1, perturb_radius >= 0 and seed >= 0")
        radius = self.perturb_radius * float(x.max() - x.min())
        shape = (self.nr_samples, *x.shape[1:])
        drawn = np.random.default_rng(self.seed).uniform(-radius, radius, shape)
        return (x + drawn).astype(np.float32)

    def measure(self, judged: Judged) -> Measured:
        """See the class."""
        own = judged.values.astype(np.float64)
        size = float(np.linalg.norm(own))
        if not size:
            raise MapError(f"The map of {judged.name} is zero everywhere, so it has no size.")
        again = judged.again(self.copies(judged.case.scene.x)).astype(np.float64)
        found = [float(np.linalg.norm(one - own)) / size for one in again]
        return Measured(max(found), {"mean": float(np.mean(found)), "each": found})
