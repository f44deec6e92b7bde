"""Guided integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Following
from onnxplain.execution.subject import Subject
from onnxplain.methods.base import AdaptiveMethod, Maps
from onnxplain.methods.completeness import completeness
from onnxplain.methods.gradient import InputGradientMethod
from onnxplain.methods.options import Baseline, Number, Option, Steps
from onnxplain.tensors import Array

_ROUNDING = 1e-9
"""Distances below this share of the whole distance count as 0."""


@dataclass(frozen=True, kw_only=True)
class GuidedIG(InputGradientMethod, AdaptiveMethod):
    """Integrated gradients along the path that moves where the gradient is smallest first.

    Each of `steps` moves the point closer to the sample, by the same L1 distance. It moves the
    `fraction` of elements with the smallest absolute gradients, among those that may still move,
    and more elements only if these are not enough. An element's progress, a share of its own
    distance, may differ from that of the straight path by at most `max_distance`. An element's
    value is the sum of its moves times its gradients. With a `max_distance` of 0, this is
    integrated_gradients with riemann-left.

    Kapishnikov et al., "Guided Integrated Gradients: an Adaptive Path Method for Removing Noise",
    CVPR 2021.
    """

    name = "guided_ig"
    summary = "integrated gradients along a path that avoids large gradients"
    paper = "Kapishnikov 2021"
    cost = "2 + steps (200), each with a backward"

    steps: Steps = 200
    fraction: Annotated[
        Number, Option("SHARE", "Share of the elements that a step of guided_ig moves.")
    ] = 0.25
    max_distance: Annotated[
        Number, Option("SHARE", "How far guided_ig may leave the straight path.")
    ] = 0.02
    baseline: Baseline = "black"

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        fits = self.steps >= 1 and 0 < self.fraction <= 1 and 0 <= self.max_distance <= 1
        self.require(fits, "steps >= 1, 0 < fraction <= 1 and 0 <= max_distance <= 1")

    def maps(self, subject: Subject) -> Maps:
        """See `AdaptiveMethod`; every target has its own path."""
        start = subject.scene.baseline(self.baseline)
        changes = subject.scores - subject.scores_of(start)
        maps = [self._walk(subject, target, start) for target in range(len(changes))]
        return Maps(
            np.concatenate(maps).astype(np.float32),
            dict(subject.spent),
            [
                completeness(values, float(change), "take more steps, or try another baseline")
                for values, change in zip(maps, changes, strict=True)
            ],
        )

    def _walk(self, subject: Subject, target: int, start: Array) -> Array:
        """The values of one target, (1, ...)."""
        way: Array = subject.scene.x.astype(np.float64) - start
        walk = _Walk(np.abs(way), self.fraction, self.max_distance)
        values = np.zeros_like(way)
        points = Following(self.steps, lambda _: (start + walk.share * way).astype(np.float32))
        for step, (_, gradient) in enumerate(subject.gradients(points, target), start=1):
            before = walk.share
            walk.go_to(step / self.steps, np.abs(gradient))
            values += gradient * (walk.share - before) * way
        return values


class _Walk:
    """The progress of each element on the path: the share of its own distance, 0 to 1."""

    def __init__(self, lengths: Array, fraction: float, max_distance: float) -> None:
        """Begin at the start of the path; `lengths` are the absolute distances of the elements."""
        self.share = np.zeros_like(lengths)
        self._lengths = lengths
        self._whole = float(lengths.sum())
        self._fraction = fraction
        self._max_distance = max_distance

    def go_to(self, progress: float, steepness: Array) -> None:
        """Move until the share `progress` of the whole L1 distance is covered.

        Elements with the smallest `steepness` are moved first.
        """
        latest = min(progress + self._max_distance, 1.0)
        share = np.maximum(self.share, progress - self._max_distance)
        while True:
            missing = progress * self._whole - float((share * self._lengths).sum())
            if missing <= _ROUNDING * self._whole:
                break
            movable = (share < latest) & (self._lengths > 0)
            chosen = movable & self._flattest(np.where(movable, steepness, np.inf))
            room = float(((latest - share) * self._lengths)[chosen].sum())
            farther = latest if missing >= room else share + missing / room * (latest - share)
            share = np.where(chosen, farther, share)
        self.share = share

    def _flattest(self, steepness: Array) -> Array:
        """Whether each element is in the `fraction` with the smallest steepness, ties included."""
        last = int(self._fraction * (steepness.size - 1))
        return np.asarray(steepness <= np.partition(steepness, last, axis=None)[last])
