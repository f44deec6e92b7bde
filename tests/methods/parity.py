"""How far our maps are from those of the torch libraries, on the same weights and picture.

Where a library deviates from the definition, its map is taken twice: with the deviation undone
through the library's own hooks (see `peers.maps`), which must agree, and as it is shipped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from methods.cases import CASES, Array, Case
from peers import maps, modules
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

FEW_CHANNELS = {"efficientnet": "blocks.0.0/project", "squeezenet": "fire2/squeeze1x1/relu"}
DEFAULT_LAYER = {"efficientnet": "head/relu6", "squeezenet": "conv10/relu"}


@dataclass(frozen=True)
class Row:
    """One method on one model: our map, a peer's with its deviation undone, and as shipped."""

    method: str
    peer: str
    ours: Array
    theirs: Array
    as_shipped: Callable[[], Array]
    undone: str = ""

    @property
    def deviation(self) -> float:
        """Largest difference, in units of the peer's largest value."""
        return _deviation(self.ours, self.theirs)

    @property
    def deviation_as_shipped(self) -> float:
        """The same from the peer as it is."""
        return _deviation(self.ours, self.as_shipped())


def _deviation(ours: Array, theirs: Array) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@dataclass(frozen=True)
class Sides:
    """A case, and its model as a torch module that ends in logits and one that ends as it does."""

    case: Case
    layer: str
    logits: torch.nn.Module
    whole: torch.nn.Module

    @classmethod
    def of(cls, case: Case, layer: str) -> "Sides":
        """Convert the model."""
        logits = "flatten" if case.probability else case.logit
        whole = modules.torch_module(case.model)
        return cls(case, layer, modules.torch_module(case.model, logits), whole)

    def at_layer(self, module: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
        """A module and the layer in it."""
        return module, modules.layer(module, self.case.model, self.layer)

    @property
    def probability(self) -> maps.Target:
        """The class's probability, from what `whole` outputs."""
        made = maps.element if self.case.probability else maps.probability
        return made(self.case.index)


def scorecam(sides: Sides) -> Iterator[Row]:
    """Both libraries."""
    ours = sides.case.attribute("scorecam", layer=sides.layer)
    arguments = (*sides.at_layer(sides.whole), sides.case.x, sides.case.black, sides.probability)
    for name, peer, undone in (
        ("pytorch-grad-cam", maps.peer_scorecam, "corners aligned when enlarging"),
        ("torch-cam", maps.peer_scorecam_torchcam, "scaled before enlarging"),
    ):
        call = partial(peer, *arguments)
        theirs, shipped = call().values, partial(_values, partial(call, as_shipped=True))
        yield Row("scorecam", name, ours, theirs, shipped, undone)


def ablationcam(sides: Sides) -> Iterator[Row]:
    """The layer must have one input, or the library as shipped cannot replace it."""
    ours = sides.case.attribute("ablationcam", layer=sides.layer)
    target = maps.element(sides.case.index)
    call = partial(maps.peer_ablationcam, *sides.at_layer(sides.logits), sides.case.x, target)
    shipped = partial(_values, partial(call, as_shipped=True))
    undone = "less than -1e7 in place of 0 at layers without a 0"
    yield Row("ablationcam", "pytorch-grad-cam", ours, call().values, shipped, undone)


def _values(call: Callable[[], maps.WeightedMap]) -> Array:
    return call().values


def eigencam(sides: Sides) -> Iterator[Row]:
    """The library centres each channel: an activation above its negative leaves nothing to do."""
    ours = sides.case.attribute("eigencam", layer=sides.layer)
    at_layer = sides.at_layer(sides.whole)
    shown = maps.activation(*at_layer, sides.case.x)
    twice = get_2d_projection(np.concatenate([shown, -shown], axis=1)[None])[0]
    theirs = _oriented(twice[: shown.shape[1]], ours)
    undone = "channels centred, sign left to chance"
    yield Row(
        "eigencam",
        "pytorch-grad-cam",
        ours,
        theirs,
        lambda: _oriented(maps.peer_eigencam(*at_layer, sides.case.x), ours),
        undone,
    )


def _oriented(theirs: Array, ours: Array) -> Array:
    return theirs if (theirs * ours).sum() >= 0 else -theirs


def occlusion(sides: Sides) -> Iterator[Row]:
    """Windows that overlap, are not square, and do not divide the picture."""
    case = sides.case
    ours = case.attribute("occlusion", window=(80, 70), stride=(60, 50))
    theirs = maps.peer_occlusion(
        sides.logits,
        case.x,
        maps.element(case.index),
        window=(3, 80, 70),
        stride=(3, 60, 50),
        fill=case.black,
    )
    yield Row("occlusion", "captum", ours, theirs, lambda: theirs)


def rows(model: str, layer: str) -> Iterator[Row]:
    """Every method and peer on a model of `CASES`; `layer` is for methods that look at one."""
    sides = Sides.of(CASES[model](), layer)
    for compare in (scorecam, ablationcam, eigencam, occlusion):
        yield from compare(sides)
