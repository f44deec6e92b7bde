"""Models that forget what they have learned, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxplain.errors import ModelError, OptionError
from onnxplain.explainer import Explainer
from onnxplain.transforms.randomization import Weighted, shuffled, weighted_layers

LayerOrder = Literal["top_down", "bottom_up", "independent"]


@dataclass(frozen=True, eq=False)
class Forgetful:
    """A model with shuffled weights in `layers` layers, the last of which has the node `node`."""

    node: str
    layers: int
    explainer: Explainer


def forgetting(
    explainer: Explainer, stages: int, seed: int, layer_order: LayerOrder = "top_down"
) -> Iterator[Forgetful]:
    """Models with more and more shuffled layers, `stages` of them, spread evenly over the layers.

    `top_down` goes from the score to the input, and `bottom_up` from the input. With `independent`,
    only one layer is shuffled at a time.

    Raises:
        OptionError: there are no stages.
        ModelError: no layer with weights is between the input and the score.
    """
    if stages < 1:
        raise OptionError(f"The check needs at least one stage, not {stages}.")
    layers = _layers(explainer)
    if layer_order == "bottom_up":
        layers = layers[::-1]
    depths = np.unique(np.linspace(1, len(layers), min(stages, len(layers))).round().astype(int))
    return (_forgetful(explainer, layers, int(depth), seed, layer_order) for depth in depths)


def all_forgotten(explainer: Explainer, seed: int) -> Forgetful:
    """The model with all layers shuffled.

    Raises:
        ModelError: as `forgetting`.
    """
    return _shuffled(explainer, _layers(explainer), seed)


def _layers(explainer: Explainer) -> list[Weighted]:
    """The layers with weights, from the score to the input."""
    score = explainer.score_tensor.logit
    layers = weighted_layers(explainer.model, explainer.input.name, score)
    if not layers:
        raise ModelError("No layer between the input and the score has weights to shuffle.")
    return layers


def _forgetful(
    explainer: Explainer, layers: list[Weighted], depth: int, seed: int, layer_order: LayerOrder
) -> Forgetful:
    chosen = layers[depth - 1 : depth] if layer_order == "independent" else layers[:depth]
    return _shuffled(explainer, chosen, seed)


def _shuffled(explainer: Explainer, chosen: list[Weighted], seed: int) -> Forgetful:
    weights = {name for layer in chosen for name in layer.weights}
    other = explainer.with_model(shuffled(explainer.model, weights, seed))
    return Forgetful(chosen[-1].node, len(chosen), other)
