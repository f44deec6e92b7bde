"""Methods that change the activation of a layer and run only the part of the graph behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxplain.errors import LayerError, MapError
from onnxplain.execution.subject import Subject
from onnxplain.formulas.namespace import Namespace, relu
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import Maps, collect
from onnxplain.methods.layer_maps import SampledLayerMethod
from onnxplain.transforms.masks import Erase, Keep, box_feeds


@dataclass(frozen=True, kw_only=True)
class AblationCAM(SampledLayerMethod):
    """ReLU(Σ_k w_k A^k), w_k = (S − S_k) / S, S_k the score with channel k set to zero.

    Desai and Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via
    Gradient-free Localization", WACV 2020.
    """

    name: ClassVar[str] = "ablationcam"
    summary: ClassVar[str] = "channels weighted by the score that is lost without them"
    paper: ClassVar[str] = "Desai 2020"
    cost: ClassVar[str] = "1 + one head pass per channel"

    def map(self, xp: Namespace, a: Any, score: Any, without: Any) -> Any:
        """The formula; `score` is (..., 1, 1, 1), and S_k, `without`, (..., channels, 1, 1)."""
        return relu(xp, xp.weighted((score - without) / score, a))

    def map_at(self, subject: Subject) -> Maps:
        """See `SampledLayerMethod`.

        Raises:
            MapError: the score is zero, so that a relative loss means nothing.
        """
        if not subject.scores.all():
            raise MapError(
                "The target's score is exactly 0, and Ablation-CAM divides by it: choose another "
                "target, or --score probability."
            )
        activation = subject.activation()
        ablated = np.flatnonzero(activation.any(axis=(1, 2)))
        axis = subject.layer.layout.axes.index("C")
        feeds = box_feeds(len(subject.layer.shape), {axis: (ablated, ablated + 1)})
        # A channel that is zero already loses nothing when it is set to zero.
        without = np.tile(subject.scores, (len(activation), 1))
        if len(ablated):
            without[ablated] = collect(subject.perturbed_layer(Erase((axis,)), feeds))
        scores, others = (one.T[..., None, None] for one in (subject.scores[None], without))
        values = self.map(NUMPY, activation, scores, others)
        return Maps(
            values.astype(np.float32),
            {"head_passes": len(ablated), "skipped_channels": len(activation) - len(ablated)},
        )


@dataclass(frozen=True, kw_only=True)
class ReciproCAM(SampledLayerMethod):
    """The score when only one cell of the activation is kept and the others are zero.

    Byun and Lee, "Recipro-CAM: Fast gradient-free visual explanations for convolutional neural
    networks", 2022.
    """

    name: ClassVar[str] = "reciprocam"
    summary: ClassVar[str] = "the score of each cell of the layer on its own"
    paper: ClassVar[str] = "Byun 2022"
    cost: ClassVar[str] = "1 + one head pass per cell"

    def map_at(self, subject: Subject) -> Maps:
        """See `SampledLayerMethod`.

        Raises:
            LayerError: the layer holds tokens, not rows and columns.
        """
        layout = subject.layer.layout
        if "H" not in layout.axes:
            raise LayerError(
                f"reciprocam needs a layer with rows and columns, and {subject.layer.tensor!r} "
                "holds a transformer's tokens; use vit_reciprocam, which is made for them."
            )
        rows, columns = layout.grid
        row, column = (i.ravel() for i in np.mgrid[:rows, :columns])
        axes = layout.axes.index("H"), layout.axes.index("W")
        boxes = {axes[0]: (row, row + 1), axes[1]: (column, column + 1)}
        feeds = box_feeds(len(subject.layer.shape), boxes)
        scores = collect(subject.perturbed_layer(Keep(axes), feeds))
        return Maps(scores.T.reshape(-1, rows, columns), {"head_passes": len(row)})
