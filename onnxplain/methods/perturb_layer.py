"""Methods that change the activation of a layer and run only the part of the graph after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import LayerError, MapError
from onnxplain.execution.points import Feeds, LayerMasks
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.subject import Structure
from onnxplain.formulas.namespace import Namespace, relu
from onnxplain.methods.base import LayerMethod, ScoredMethod, Sums
from onnxplain.methods.layer_maps import LayerMapsMethod, one_of_each
from onnxplain.transforms.masks import Along, Keep, box_feeds


@dataclass(frozen=True, kw_only=True)
class AblationCAM(LayerMapsMethod, ScoredMethod):
    """ReLU(Σ_k w_k A^k), w_k = (S − S_k) / S, S_k the score with channel k set to zero.

    Desai and Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via
    Gradient-free Localization", WACV 2020.
    """

    name = "ablationcam"
    summary = "channels weighted by the score that is lost without them"
    weights_channels = True
    sums_channels = True
    paper = "Desai 2020"
    changes_layer = True
    cost = "1 + one head pass per channel, and one more"

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """One sample for each channel that is not already zero, with this channel set to zero."""
        (layer, a), xp = original.at_layer, original.scene.xp
        ablated, count = xp.true_places(xp.max(xp.abs(a), axis=-1) > 0)
        own = one_of_each(xp, ablated, layer.channels)
        feeds = Feeds(count, lambda part: {"along": 1 - own(part)})
        ones = np.ones((1, layer.channels), np.float32)
        return [
            Sampling(
                LayerMasks(Along(layer.layout.axes.index("C")), feeds, layer, {"along": ones}),
                own,
                facts=lambda: {"skipped_channels": layer.channels - count},
            )
        ]

    def check_scores(self, original: Original) -> None:
        """See `SampledMethod`: the map is divided by the scores."""
        if not original.score.all():
            raise MapError(
                "The target's score is exactly 0, and Ablation-CAM divides by it: choose another "
                "target, or --score probability."
            )

    def terms(self, xp: Namespace, original: Original, score: Any, channel: Any) -> Sums:
        """See `SampledMethod`; `channel` is 1 at the channel of each sample, else 0."""
        return {"weights": xp.matmul((original.score - score) / original.score, channel)}

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """See the class."""
        _, a = original.at_layer
        return relu(xp, xp.combined(sums["weights"], a))


@dataclass(frozen=True, kw_only=True)
class CellMethod(LayerMethod, ScoredMethod):
    """A method whose map is a score for each cell of a layer.

    Its layers must have the axis `axis`; `needs` says this in words, and what to use instead.
    """

    changes_layer = True
    axis: ClassVar[str]
    needs: ClassVar[str]
    values_are_scores = True

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """See `Method`.

        Raises:
            LayerError: there is no such layer, or a layer lacks the axis.
        """
        layers = super().layers(structure)
        for layer in layers:
            if self.axis not in layer.layout.axes:
                raise LayerError(f"{self.name} needs a layer {self.needs.format(layer.tensor)}.")
        return layers

    def terms(self, xp: Namespace, original: Original, score: Any, cell: Any) -> Sums:
        """See `SampledMethod`; `cell` is 1 at the cell of each sample, else 0."""
        return {"scores": xp.matmul(score, cell)}


@dataclass(frozen=True, kw_only=True)
class ReciproCAM(CellMethod, LayerMapsMethod):
    """The score when only one cell of the activation is kept and the others are zero.

    Byun and Lee, "Recipro-CAM: Fast gradient-free visual explanations for convolutional neural
    networks", 2022.
    """

    name = "reciprocam"
    summary = "the score of each cell of the layer on its own"
    paper = "Byun 2022"
    cost = "1 + one head pass per cell"
    axis = "W"
    needs = (
        "with rows and columns, and {!r} holds a transformer's tokens; use vit_reciprocam, which "
        "is made for them"
    )

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """One sample for each cell of the layer, with only this cell kept."""
        (layer, _), xp = original.at_layer, original.scene.xp
        axes = tuple(i for i, axis in enumerate(layer.layout.axes) if axis in "DHW")
        cells = [index.ravel() for index in np.indices(layer.grid)]
        boxes = {axis: (cell, cell + 1) for axis, cell in zip(axes, cells, strict=True)}
        feeds = Feeds.of(box_feeds(len(layer.shape), boxes), xp)
        own = one_of_each(xp, np.arange(feeds.count), feeds.count)
        return [Sampling(LayerMasks(Keep(axes), feeds, layer), own)]
