"""Check whether a map depends on what the model has learned.

Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: weights are made random layer by
layer, from the score back to the input. A map that does not change shows edges of the picture, not
what the model has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxplain.errors import MapError, OptionError, TargetError
from onnxplain.explainer import Explainer, Picture
from onnxplain.methods.base import Method
from onnxplain.methods.registry import AUTO
from onnxplain.metrics.forgetting import Forgetful, forgetting
from onnxplain.metrics.similarity import rank_correlation
from onnxplain.results.comparison import require_picture
from onnxplain.results.explanation import Explanation
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.results.render.comparison import TargetRow, comparison
from onnxplain.targets import TargetSpec
from onnxplain.tensors import Array

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
    forgetful = forgetting(explainer, stages, shuffle_seed)
    configured = explainer.configured(method, options)
    kept = _kept(explainer, picture, configured, target)
    trained = explainer.explain(picture, configured, kept)
    if trained.sheet is not None:
        raise OptionError(
            f"{trained.method} draws no map on the picture that could be compared: check a method "
            "that does, such as gradcam."
        )
    found = tuple(_stage(one, trained, (picture, configured, kept)) for one in forgetful)
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
    forgetful: Forgetful, trained: Explanation, asked: tuple[Picture, Method, TargetSpec]
) -> Stage:
    try:
        explanation = forgetful.explainer.explain(*asked)
    except MapError as error:
        return Stage(forgetful.node, forgetful.layers, None, None, str(error))
    seen = np.ones(trained.heatmap.shape, bool) if trained.seen is None else trained.seen
    correlation = rank_correlation(trained.heatmap[seen], explanation.heatmap[seen])
    return Stage(forgetful.node, forgetful.layers, correlation, explanation)


def _heading(stage: Stage) -> tuple[str, str]:
    known = stage.correlation is not None
    note = f"rank correlation {stage.correlation:.2f}" if known else ""
    return f"{stage.layers} shuffled", note
