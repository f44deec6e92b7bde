"""Concepts of one picture: parts of a layer's activation, and what they matter to a class.

The activations of the picture, (cells, channels), are factored into nonnegative factors: Collins,
Achanta and Süsstrunk, "Deep Feature Factorization for Concept Discovery", ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxplain.errors import MapError, OptionError, TargetError
from onnxplain.explainer import Explainer
from onnxplain.explainer.taken import Taken
from onnxplain.reports.concepts import (
    Network,
    concept_layer,
    explained_share,
    factor,
    importance_of,
)
from onnxplain.results.render.concepts import draw_concepts
from onnxplain.results.render.frame import Caption
from onnxplain.targets import Class, TargetSpec
from onnxplain.tensors import Array, FloatArray

MOST = 10
"""Most concepts of a picture: more colors cannot be told apart."""


@dataclass(frozen=True, eq=False)
class PictureConcepts:
    """The concepts of one picture, the most important first.

    Attributes:
        layer: its tensor.
        target: the class.
        values: how much of each concept is in each cell, float32 (concepts, rows, columns), in
            units of the layer: the length of what the concept adds to the activation.
        parts: how much of each channel is in a concept, (concepts, channels), each of length 1.
        importance: for the class, the total Sobol index of each concept.
        explained: the share of the activation's squared sum that the concepts explain.
        score: of the class, for the activation itself.
        score_of_concepts: the same for what the concepts explain of the activation.
    """

    layer: str
    target: Class
    values: FloatArray = field(repr=False)
    parts: FloatArray = field(repr=False)
    importance: tuple[float, ...]
    explained: float
    score: float
    score_of_concepts: float

    def to_dict(self) -> Mapping[str, Any]:
        """The facts, without the arrays."""
        return {
            "layer": self.layer,
            "target": self.target.described.to_dict(),
            "concepts": len(self.values),
            "importance": list(self.importance),
            "explained": self.explained,
            "score": self.score,
            "score_of_concepts": self.score_of_concepts,
        }


def picture_concepts(
    explainer: Explainer,
    taken: Taken,
    target: TargetSpec = "top1",
    *,
    count: int = 5,
    layer: str = "auto",
    seed: int = 0,
) -> PictureConcepts:
    """Factor the activation of a layer for one picture into `count` concepts.

    Negative activations count as 0 in the factors, and are missing in `explained`.

    Raises:
        OptionError: the count is not 1 to 10, or scikit-learn or SciPy is not installed.
        LayerError: the layer has no rows and columns, or does not compute the score alone.
        TargetError: the target is not one class.
        MapError: no activation is positive.
    """
    if not 1 <= count <= MOST:
        raise OptionError(f"A picture has 1 to {MOST} concepts, not {count}.")
    chosen = _one_class(explainer, taken, target)
    network = Network(explainer, concept_layer(explainer, layer))
    whole = network.activation(taken)
    positive = np.maximum(whole, 0)
    if not positive.any():
        raise MapError("No activation of this layer is positive, so it has no concepts.")
    (usage,), parts = factor(positive[None], count, seed)
    importance = importance_of(network, usage, parts, chosen.index)
    order, lengths = np.argsort(-importance), np.linalg.norm(parts, axis=1)
    modeled = usage @ parts
    scores = network.scores(np.stack([whole, modeled]))[:, chosen.index]
    return PictureConcepts(
        layer=network.layer,
        target=chosen,
        values=np.moveaxis(usage * lengths, -1, 0)[order],
        parts=(parts / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None])[order],
        importance=tuple(importance[order].tolist()),
        explained=explained_share(whole, modeled),
        score=float(scores[0]),
        score_of_concepts=float(scores[1]),
    )


def drawn(found: PictureConcepts, taken: Taken) -> Array:
    """The regions of the concepts on the picture, with their importance: uint8 (h, w, 3), RGB."""
    heats = [taken.canvas.on_canvas(taken.canvas.on_seen(one)) for one in found.values]
    notes = [
        f"concept {i}: importance {share:.2f}" for i, share in enumerate(found.importance, start=1)
    ]
    caption = Caption(
        found.target.described.title,
        f"score {found.score:.3g}, of the concepts alone {found.score_of_concepts:.3g}",
        f"concepts at layer {found.layer} · {found.explained:.0%} of the activation",
    )
    return draw_concepts(taken.picture, heats, notes, caption)


def _one_class(explainer: Explainer, taken: Taken, target: TargetSpec) -> Class:
    """The class that a target means.

    Raises:
        TargetError: it means no class, or several.
    """
    found = explainer.targets(taken, target)
    if len(found) != 1 or not isinstance(found[0], Class):
        names = ", ".join(one.name for one in found)
        raise TargetError(
            f"Concepts matter to one class of a classifier, and {target!r} means {names}: name "
            "one class."
        )
    return found[0]
