"""Integrated gradients: the gradient along a path from a baseline to the sample."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Feeds, Given
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.methods.completeness import LARGE, CompleteMethod, completeness, gap
from onnxplain.methods.options import Baseline, NumberOrNone, Option, Quadrature, Seed, Steps, Whole
from onnxplain.methods.quadrature import nodes
from onnxplain.tensors import Array
from onnxplain.transforms.masks import Share

MOST_STEPS = 3200
"""The largest number of steps that `tolerance` leads to."""


@dataclass(frozen=True, eq=False)
class Path:
    """A path γ(α) in the input space from `start`, γ(0), the baseline, to the sample, γ(1).

    `points` returns γ at some α in [0, 1], which are (n, 1, ...). `speed` returns ∂γ/∂α, one for
    each α, or one for all.
    """

    start: Any
    points: Callable[[Array], Given | Blend]
    speed: Callable[[Any], Any]


def straight(start: Any, scene: Scene) -> Path:
    """γ(α) = x' + α (x − x'), computed in the graph, so that only α is copied to the device."""

    def points(shares: Array) -> Blend:
        fed = {"share": shares.astype(np.float32)}
        return Blend(Share(), Feeds.of(fed, scene.xp), start)

    way = scene.x - start
    return Path(start, points, lambda _: way)


@dataclass(frozen=True, kw_only=True)
class PathMethod(CompleteMethod):
    """∫ g(γ(α)) ⊙ ∂γ/∂α dα along a path that does not depend on the gradients."""

    steps: Steps = 50
    rule: Annotated[
        Quadrature, Option("NAME", "gauss-legendre, or riemann-left, -right, -middle, -trapezoid.")
    ] = "gauss-legendre"
    tolerance: Annotated[
        NumberOrNone, Option("SHARE", "Double the steps until the values add up this well.")
    ] = None

    @property
    def repeats(self) -> bool:
        """See `SampledMethod`."""
        return self.tolerance is not None

    @abstractmethod
    def paths(self, scene: Scene) -> Sequence[Path]:
        """The paths to average over."""

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        least = 2 if self.rule == "riemann-trapezoid" else 1
        self.require(self.steps >= least, "steps >= 1, and >= 2 with riemann-trapezoid")
        positive = self.tolerance is None or self.tolerance > 0
        self.require(positive, "a tolerance > 0, a share of the score's change such as 0.01")

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """Points along each path, weighted by the rule and the path's derivative."""
        scene, xp = original.scene, original.scene.xp
        paths = self.paths(scene)
        shares, weights = (
            column.reshape(-1, *[1] * (len(scene.shape) - 1))
            for column in nodes(self.rule, self.steps)
        )
        columns = weights / len(paths)

        def along(path: Path) -> Sampling:
            return Sampling(
                path.points(shares),
                lambda part: xp.rows(columns, part) * path.speed(xp.rows(shares, part)),
                Given(1, lambda _: path.start),
            )

        return [along(path) for path in paths]

    def finer(self, values: Array, change: float) -> PathMethod | None:
        """The method with twice the steps, if the gap is above the tolerance; else None."""
        if self.tolerance is None or 2 * self.steps > MOST_STEPS:
            return None
        complete = abs(gap(values, change)) <= self.tolerance * abs(change)
        return None if complete else replace(self, steps=2 * self.steps)

    def diagnostics_of(self, values: Array, change: float) -> dict[str, Any]:
        """See `SampledMethod`."""
        remedy, allowed = "take more steps, set a tolerance, or try another baseline", LARGE
        if self.tolerance is not None:
            remedy = f"no more than {self.steps} steps are tried, so loosen the tolerance"
            allowed = self.tolerance
        return {"steps": self.steps, **completeness(values, change, remedy, allowed)}


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(PathMethod):
    """(x − x') ⊙ ∫ g(x' + α (x − x')) dα, with the gradient g from α = 0 to 1.

    The values add up to S(x) − S(x'), except for the `completeness_gap`, which is reported. `rule`
    is gauss-legendre, or riemann-left, -right, -middle or -trapezoid, with `steps` points each.
    With `tolerance`, the steps are doubled until the gap is at most this share of S(x) − S(x'). x'
    is the `baseline`. With uniform, the values are the mean over `trials` random baselines with the
    seeds `seed`, `seed` + 1, ...

    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
    """

    name = "integrated_gradients"
    summary = "the gradient along the path from a baseline; adds up to the score"
    paper = "Sundararajan 2017"
    cost = "2 + steps (50), each with a backward"

    baseline: Baseline = "black"
    trials: Annotated[
        Whole, Option("COUNT", "Random baselines to average over, with --baseline uniform.")
    ] = 1
    seed: Seed = 0

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        super().check(scene)
        self.require(self.trials >= 1 and self.seed >= 0, "trials >= 1 and seed >= 0")
        random = isinstance(self.baseline, str) and self.baseline == "uniform"
        if self.trials > 1 and not random:
            raise OptionError(
                "trials are averaged over random baselines, and this one is not: take the baseline "
                "uniform, or one trial."
            )

    def paths(self, scene: Scene) -> Sequence[Path]:
        """The straight path from the baseline of each trial."""
        return [
            straight(scene.baseline(self.baseline, self.seed + trial), scene)
            for trial in range(self.trials)
        ]
