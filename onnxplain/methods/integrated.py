"""Integrated gradients: the gradient along a path from a baseline to the sample."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.points import Blend, Points, target_chunks
from onnxplain.execution.subject import Subject
from onnxplain.methods.base import Maps, SampledMethod
from onnxplain.methods.completeness import completeness, gap
from onnxplain.methods.gradient import InputGradientMethod
from onnxplain.methods.options import Baseline, NumberOrNone, Option, Quadrature, Seed, Steps, Whole
from onnxplain.methods.quadrature import nodes
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import Share

MOST_STEPS = 3200
"""`tolerance` doubles the steps no further than this."""


class Path(Protocol):
    """A curve γ through the input space, from the baseline at 0 to the sample at 1."""

    @property
    def start(self) -> FloatArray:
        """γ(0)."""

    def points(self, shares: Array) -> Points:
        """γ at some numbers in [0, 1]."""

    def speed(self, share: float) -> Array:
        """∂γ/∂α at one of them, of the shape of `start`."""


@dataclass(frozen=True, eq=False)
class Straight:
    """γ(α) = x' + α (x − x'), made inside the graph, so that only α travels to the device."""

    start: FloatArray
    end: FloatArray

    def points(self, shares: Array) -> Points:
        """See `Path`."""
        fed = shares.astype(np.float32).reshape(-1, *[1] * (self.start.ndim - 1))
        return Blend(Share(), {"share": fed}, self.start)

    def speed(self, share: float) -> Array:
        """See `Path`."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class PathMethod(InputGradientMethod, SampledMethod):
    """∫ g(γ(α)) ⊙ ∂γ/∂α dα along a path that does not depend on the gradients."""

    steps: Steps = 50
    rule: Annotated[
        Quadrature, Option("NAME", "gauss-legendre, or riemann-left, -right, -middle, -trapezoid.")
    ] = "gauss-legendre"
    tolerance: Annotated[
        NumberOrNone, Option("SHARE", "Double the steps until the values add up this well.")
    ] = None

    @abstractmethod
    def paths(self, subject: Subject) -> Sequence[Path]:
        """The paths to average over."""

    def maps(self, subject: Subject) -> Maps:
        """See `Method`.

        Raises:
            OptionError: an option is out of its range.
        """
        if self.steps < 1 + (self.rule == "riemann-trapezoid"):
            raise OptionError(f"{self.name} takes steps >= 1, and >= 2 with riemann-trapezoid.")
        if self.tolerance is not None and self.tolerance <= 0:
            raise OptionError(
                f"{self.name} takes a tolerance > 0, a share of the score's change such as 0.01."
            )
        paths = self.paths(subject)
        starts = np.mean([subject.scores_of(path.start) for path in paths], axis=0)
        changes = subject.scores - starts
        values = np.zeros((len(changes), *subject.x.shape[1:]))
        took = np.zeros(len(changes), int)
        spent = Counter(forward_passes=1 + len(paths))
        open_ones, steps = list(range(len(changes))), self.steps
        while open_ones and steps <= max(MOST_STEPS, self.steps):
            for group in target_chunks(len(open_ones)):
                some = [open_ones[i] for i in group]
                values[some] = self._integrals(subject, some, paths, steps, spent)
            took[open_ones] = steps
            open_ones = [i for i in open_ones if not self._is_complete(values[i], changes[i])]
            steps *= 2
        told = [
            {"steps": int(steps)} | self._completeness(own, float(change), int(steps))
            for own, change, steps in zip(values, changes, took, strict=True)
        ]
        return Maps(values.astype(np.float32), dict(spent), told)

    def _is_complete(self, values: Array, change: float) -> bool:
        """Whether the values add up as well as they are to."""
        return self.tolerance is None or abs(gap(values, change)) <= self.tolerance * abs(change)

    def _completeness(self, values: Array, change: float, steps: int) -> dict[str, Any]:
        if self.tolerance is None:
            remedy = "take more steps, set a tolerance, or try another baseline"
            return completeness(values, change, remedy)
        remedy = f"no more than {steps} steps are tried, so loosen the tolerance"
        return completeness(values, change, remedy, self.tolerance)

    def _integrals(
        self,
        subject: Subject,
        targets: Sequence[int],
        paths: Sequence[Path],
        steps: int,
        spent: Counter[str],
    ) -> Array:
        """∫ g(γ(α)) ⊙ ∂γ/∂α dα of some targets, averaged over the paths, (targets, ...).

        The passes that it takes are added to `spent`.
        """
        shares, weights = nodes(self.rule, steps)
        total = np.zeros((len(targets), *subject.x.shape[1:]))
        for path in paths:
            for found in subject.gradients(path.points(shares), targets):
                spent.update(found.passes)
                looks = zip(shares[found.part], weights[found.part], strict=True)
                for place, (share, weight) in enumerate(looks):
                    total += weight * found.values[:, place] * path.speed(share)
        return total / len(paths)


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(PathMethod):
    """(x − x') ⊙ ∫ g(x' + α (x − x')) dα, with the gradient g from α = 0 to 1.

    The values add up to S(x) − S(x') but for a `completeness_gap`, which is reported. `rule` is
    gauss-legendre, or riemann-left, -right, -middle or -trapezoid, with `steps` looks each;
    `tolerance` doubles them until the gap is no larger than this share of S(x) − S(x'). x' is the
    `baseline`; with uniform, the mean over `trials` random ones, of seeds `seed`, `seed` + 1, ...

    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
    """

    name: ClassVar[str] = "integrated_gradients"
    summary: ClassVar[str] = "the gradient along the way from a baseline; adds up to the score"
    paper: ClassVar[str] = "Sundararajan 2017"
    cost: ClassVar[str] = "2 + steps (50), each with a backward"

    baseline: Baseline = "black"
    trials: Annotated[
        Whole, Option("COUNT", "Random baselines to average over, with --baseline uniform.")
    ] = 1
    seed: Seed = 0

    def paths(self, subject: Subject) -> Sequence[Path]:
        """Straight ones from every trial's baseline.

        Raises:
            OptionError: there are no trials, or several of a baseline that is not random.
        """
        if self.trials < 1 or self.seed < 0:
            raise OptionError(f"{self.name} takes trials >= 1 and seed >= 0.")
        random = isinstance(self.baseline, str) and self.baseline == "uniform"
        if self.trials > 1 and not random:
            raise OptionError(
                "trials are averaged over random baselines, and this one is not: take the baseline "
                "uniform, or one trial."
            )
        return [
            Straight(subject.baseline(self.baseline, self.seed + trial), subject.x)
            for trial in range(self.trials)
        ]
