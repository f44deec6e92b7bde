"""Check whether a map depends on what the model has learned.

Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: weights are made random layer by
layer, from the score back to the input. A map that does not change shows edges of the picture, not
what the model has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxplain.errors import MapError, ModelError, OptionError, TargetError
from onnxplain.explainer import Explainer, Picture
from onnxplain.methods.base import Method
from onnxplain.methods.registry import AUTO
from onnxplain.results.comparison import require_picture
from onnxplain.results.explanation import Explanation
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.results.render.comparison import TargetRow, comparison
from onnxplain.targets import TargetSpec
from onnxplain.tensors import Array
from onnxplain.transforms.randomization import Weighted, shuffled, weighted_layers

SAME_ABOVE = 0.7
"""A map whose rank correlation with the trained model's is above this counts as the same."""


@dataclass(frozen=True, eq=False)
class Stage:
    """The map with shuffled weights in `layers` layers, from the score back to the node `node`.

    `correlation` is Spearman's rank correlation with the map of the trained model, over the
    picture's pixels that the model saw. `correlation` and `explanation` are None if there is no
    map, for example because it is the same everywhere; `reason` then says why.
    """

    node: str
    layers: int
    correlation: float | None
    explanation: Explanation | None
    reason: str = ""

    @property
    def same(self) -> bool:
        """Whether the map counts as the same as that of the trained model."""
        return self.correlation is not None and not self.correlation < SAME_ABOVE


@dataclass(frozen=True, eq=False)
class SanityCheck:
    """The trained model's map, and how it changes as more weights are shuffled."""

    trained: Explanation
    stages: tuple[Stage, ...]

    @property
    def passed(self) -> bool:
        """Whether the map changes at every stage."""
        return not any(stage.same for stage in self.stages)

    def draw(self, colormap: str = DEFAULT_COLORMAP) -> Array:
        """Return the maps in a row, the trained model's first: uint8 (h, w, 3), RGB.

        Raises:
            MapError: they are of a volume, a signal or a row.
        """
        trained = self.trained
        require_picture(trained.kind)
        columns = [("trained", trained.method), *map(_heading, self.stages)]
        cells = [trained, *(stage.explanation for stage in self.stages)]
        row = TargetRow(trained.target.title, trained.scored, cells)
        return comparison(trained.picture, columns, [row], colormap, trained.seen)


def sanity_check(
    explainer: Explainer,
    picture: Picture,
    method: str | Method = AUTO,
    target: TargetSpec = "top1",
    *,
    stages: int = 6,
    shuffle_seed: int = 0,
    **options: Any,
) -> SanityCheck:
    """Explain a picture while the model's weights are shuffled, from the score back to the input.

    Args:
        explainer: the explainer of the trained model; it is not changed.
        picture: as for `Explainer.explain`.
        method: as for `Explainer.explain`.
        target: the target, resolved with the trained model and used for all stages.
        stages: the number of shuffled models, spread evenly over the layers with weights.
        shuffle_seed: the seed of the random order of the weights.
        options: the method's own.

    Raises:
        ModelError: no layer with weights is between the input and the score.
        OptionError: the method draws no map of the picture.
        TargetError: `target` means several targets.
        OnnxplainError: as `Explainer.explain`, for the trained model.
    """
    if stages < 1:
        raise OptionError(f"The check needs at least one stage, not {stages}.")
    score = explainer.score_tensor.logit
    layers = weighted_layers(explainer.model, explainer.input.name, score)
    if not layers:
        raise ModelError("No layer between the input and the score has weights to shuffle.")
    configured = explainer.configured(method, options)
    kept = _kept(explainer, picture, configured, target)
    trained = explainer.explain(picture, configured, kept)
    if trained.sheet is not None:
        raise OptionError(
            f"{trained.method} draws no map on the picture that could be compared: check a method "
            "that does, such as gradcam."
        )
    depths = np.unique(np.linspace(1, len(layers), min(stages, len(layers))).round().astype(int))
    found = tuple(
        _stage(explainer, trained, layers[:depth], shuffle_seed, (picture, configured, kept))
        for depth in depths
    )
    return SanityCheck(trained, found)


def _kept(explainer: Explainer, picture: Picture, method: Method, target: TargetSpec) -> TargetSpec:
    """The target that the trained model is explained for; the cells of a region are fixed.

    Raises:
        TargetError: there are several.
    """
    if not method.needs_target:
        return target
    found = explainer.targets(picture, target)
    if len(found) > 1:
        raise TargetError(
            f"{target!r} means {len(found)} targets, and the check takes one: name a class, or "
            "use top1."
        )
    return found[0]


def _stage(
    explainer: Explainer,
    trained: Explanation,
    layers: list[Weighted],
    seed: int,
    asked: tuple[Picture, Method, TargetSpec],
) -> Stage:
    weights = {name for layer in layers for name in layer.weights}
    forgetful = explainer.with_model(shuffled(explainer.model, weights, seed))
    try:
        explanation = forgetful.explain(*asked)
    except MapError as error:
        return Stage(layers[-1].node, len(layers), None, None, str(error))
    seen = np.ones(trained.heatmap.shape, bool) if trained.seen is None else trained.seen
    correlation = rank_correlation(trained.heatmap[seen], explanation.heatmap[seen])
    return Stage(layers[-1].node, len(layers), correlation, explanation)


def _heading(stage: Stage) -> tuple[str, str]:
    known = stage.correlation is not None
    note = f"rank correlation {stage.correlation:.2f}" if known else ""
    return f"{stage.layers} shuffled", note


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rank correlation, −1 to 1; equal values get the mean of their ranks."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Array) -> Array:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Array = last - (counts - 1) / 2
    return shared[places.ravel()]
