"""Expected gradients."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.points import Given, target_chunks
from onnxplain.execution.subject import Subject
from onnxplain.methods.base import Maps, SampledMethod
from onnxplain.methods.completeness import completeness
from onnxplain.methods.gradient import InputGradientMethod
from onnxplain.methods.options import Option, SampleArray, Samples, Seed
from onnxplain.tensors import FloatArray


@dataclass(frozen=True, kw_only=True)
class ExpectedGradients(InputGradientMethod, SampledMethod):
    """E[(x − x') ⊙ g(x' + α (x − x'))]: x' is one of `baselines`, α uniform between 0 and 1.

    `baselines` are samples as the model takes them, (n, ...); on the command line, pictures and
    folders of them. `numpy.random.default_rng(seed)` draws which of them each of `samples` starts
    from (integers(n)), then every α (random, in float32). The values add up to S(x) − mean S(x')
    but for a `completeness_gap`, which chance leaves.

    Erion et al., "Improving performance of deep learning models with axiomatic attribution priors
    and expected gradients", Nature Machine Intelligence 2021.
    """

    name: ClassVar[str] = "expected_gradients"
    summary: ClassVar[str] = "integrated gradients averaged over a set of baseline pictures"
    paper: ClassVar[str] = "Erion 2021"
    cost: ClassVar[str] = "1 + baselines + samples (200), each of these with a backward"

    baselines: Annotated[
        SampleArray, Option("PICTURES", "Pictures, folders or patterns; may be repeated.")
    ] = None
    samples: Samples = 200
    seed: Seed = 0

    def maps(self, subject: Subject) -> Maps:
        """See `Method`.

        Raises:
            OptionError: an option is out of its range, or the baselines do not fit the input.
        """
        if self.samples < 1 or self.seed < 0:
            raise OptionError(f"{self.name} takes samples >= 1 and seed >= 0.")
        x, starts = subject.x, self._starts(subject.x)
        random = np.random.default_rng(self.seed)
        drawn = random.integers(len(starts), size=self.samples)
        shares = random.random((self.samples, *[1] * (x.ndim - 1)), np.float32)
        points = Given(
            self.samples,
            lambda part: shares[part] * x + (1 - shares[part]) * starts[drawn[part]],
        )
        absent = np.mean([subject.scores_of(start[None]) for start in starts], axis=0)
        values = np.zeros((len(absent), *x.shape[1:]))
        spent = Counter(forward_passes=1 + len(starts))
        for some in target_chunks(len(values)):
            for found in subject.gradients(points, some):
                spent.update(found.passes)
                way = x - starts[drawn[found.part]]
                values[some] += (way * found.values).sum(1, np.float64) / self.samples
        return Maps(
            values.astype(np.float32),
            dict(spent),
            [
                completeness(own, float(change), "take more samples")
                for own, change in zip(values, subject.scores - absent, strict=True)
            ],
        )

    def _starts(self, x: FloatArray) -> FloatArray:
        if not isinstance(self.baselines, np.ndarray):
            raise OptionError(
                f"{self.name} needs baselines: pictures on the command line (--baselines FOLDER), "
                "an array of samples as the model takes them in Python."
            )
        if self.baselines.shape[1:] != x.shape[1:]:
            raise OptionError(
                f"The baselines have the shape {self.baselines.shape[1:]} each, and the model's "
                f"input has {x.shape[1:]}."
            )
        return self.baselines
