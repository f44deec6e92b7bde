"""Differences between our maps and those of torch libraries, on the same weights and picture.

If a library deviates from the definition, its map is computed twice. Once with the deviation
corrected through the library's own hooks (see `tools.peers.maps`): this map must agree with ours.
And once as the library is shipped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from pytorch_grad_cam.utils.svd_on_activations import (  # type: ignore[import-untyped]
    get_2d_projection,
)

from onnxplain import Explainer
from onnxplain.images.preprocess import Preprocess
from tools.cases.models import CASES, Array, Case
from tools.peers import exports, maps, modules, superpixels

FEW_CHANNELS = {"efficientnet": "blocks.0.0/project", "squeezenet": "fire2/squeeze1x1/relu"}
DEFAULT_LAYER = {"efficientnet": "head/relu6", "squeezenet": "conv10/relu"}


@dataclass(frozen=True)
class Row:
    """One method on one model: our map, a peer's with its deviation corrected, and as shipped."""

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
        """The same from the peer as it is shipped."""
        return _deviation(self.ours, self.as_shipped())


def _deviation(ours: Array, theirs: Array) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@dataclass(frozen=True)
class Sides:
    """A case, and its model as a torch module that ends in logits and one with the same output.

    `own` is the layer in a module that was not made from the ONNX file, and `reshape` brings its
    output to (N, C, h, w).
    """

    case: Case
    layer: str
    logits: torch.nn.Module
    whole: torch.nn.Module
    own: torch.nn.Module | None = None
    reshape: exports.Reshape | None = None

    @classmethod
    def of(cls, case: Case, layer: str) -> "Sides":
        """Convert the model."""
        logits = "flatten" if case.probability else case.logit
        whole = modules.torch_module(case.model)
        return cls(case, layer, modules.torch_module(case.model, logits), whole)

    @classmethod
    def of_export(cls, name: str, index: int) -> "Sides":
        """An export of `tools.peers.exports` and the module that it was made from."""
        net = exports.exported(name)
        case = export_case(name, index)
        return cls(case, "auto", net.module, net.module, net.layer, net.reshape)

    def at_layer(self, module: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
        """A module and the layer in it."""
        return module, self.own or modules.layer(module, self.case.model, self.layer)

    @property
    def probability(self) -> maps.Target:
        """The class's probability, from what `whole` outputs."""
        made = maps.element if self.case.probability else maps.probability
        return made(self.case.index)


def export_case(name: str, index: int = 0) -> Case:
    """An export of `tools.peers.exports`, with the noise that it is explained on."""
    net = exports.exported(name)
    size = net.x.shape[2], net.x.shape[3]
    settings = Preprocess(size=size, mean=(120, 110, 100), std=(50, 60, 70))
    explainer = Explainer(net.model, preprocess=settings, provider="cpu")
    return Case(net.model, explainer, net.x, index, "image", "logits")


def scorecam(sides: Sides) -> Iterator[Row]:
    """Both libraries."""
    ours = sides.case.attribute("scorecam", layer=sides.layer)
    arguments = (*sides.at_layer(sides.whole), sides.case.x, sides.case.black, sides.probability)
    for name, peer, undone in (
        ("pytorch-grad-cam", maps.peer_scorecam, "corners aligned when enlarging"),
        ("torch-cam", maps.peer_scorecam_torchcam, "scaled before enlarging"),
    ):
        call = partial(peer, *arguments, reshape=sides.reshape)
        theirs, shipped = call().values, partial(_values, partial(call, as_shipped=True))
        yield Row("scorecam", name, ours, theirs, shipped, undone)


def ablationcam(sides: Sides) -> Iterator[Row]:
    """The layer must have one input, otherwise the library as shipped cannot replace it."""
    ours = sides.case.attribute("ablationcam", layer=sides.layer)
    target = maps.element(sides.case.index)
    arguments = (*sides.at_layer(sides.logits), sides.case.x, target)
    call = partial(maps.peer_ablationcam, *arguments, reshape=sides.reshape)
    shipped = partial(_values, partial(call, as_shipped=True))
    undone = "less than -1e7 in place of 0 at layers without a 0"
    yield Row("ablationcam", "pytorch-grad-cam", ours, call().values, shipped, undone)


def _values(call: Callable[[], maps.WeightedMap]) -> Array:
    return call().values


def eigencam(sides: Sides) -> Iterator[Row]:
    """The library centers each channel: an activation stacked on its negative has mean 0."""
    ours = sides.case.attribute("eigencam", layer=sides.layer)
    arguments = (*sides.at_layer(sides.whole), sides.case.x, sides.reshape)
    shown = maps.activation(*arguments)
    twice = get_2d_projection(np.concatenate([shown, -shown], axis=1)[None])[0]
    theirs = _oriented(twice[: shown.shape[1]], ours)
    undone = "channels centered, sign left to chance"
    yield Row(
        "eigencam",
        "pytorch-grad-cam",
        ours,
        theirs,
        lambda: _oriented(maps.peer_eigencam(*arguments), ours),
        undone,
    )


def kpcacam(sides: Sides) -> Iterator[Row]:
    """The library clips negative values of the map after this formula."""
    ours = sides.case.attribute("kpcacam", layer=sides.layer)
    theirs = maps.peer_kpcacam(*sides.at_layer(sides.whole), sides.case.x, sides.reshape)
    yield Row("kpcacam", "pytorch-grad-cam", ours, theirs, lambda: theirs)


def fem(sides: Sides) -> Iterator[Row]:
    """The library clips negative values of the map after this formula."""
    ours = sides.case.attribute("fem", layer=sides.layer)
    theirs = maps.peer_fem(*sides.at_layer(sides.whole), sides.case.x, sides.reshape)
    yield Row("fem", "pytorch-grad-cam", ours, theirs, lambda: theirs)


def _oriented(theirs: Array, ours: Array) -> Array:
    return theirs if (theirs * ours).sum() >= 0 else -theirs


def occlusion(sides: Sides) -> Iterator[Row]:
    """Windows that overlap, are not square, and do not divide the picture."""
    case = sides.case
    rows, columns = case.x.shape[2:]
    window, stride = (rows * 2 // 5, columns // 3), (rows // 4, columns // 5)
    ours = case.attribute("occlusion", window=window, stride=stride)
    theirs = maps.peer_occlusion(
        sides.logits,
        case.x,
        maps.element(case.index),
        window=(3, *window),
        stride=(3, *stride),
        fill=case.black,
    )
    yield Row("occlusion", "captum", ours, theirs, lambda: theirs)


def of_superpixels(sides: Sides) -> Iterator[Row]:
    """Six segments: the same 60 sets of them for `lime`, all sets for `kernelshap`."""
    case = sides.case
    height, width = case.x.shape[2:]
    labels = (np.arange(height) * 2 // height * 3)[:, None] + np.arange(width) * 3 // width
    given = sides.logits, case.x, case.black, labels, case.index
    kept = np.random.default_rng(0).random((60, 6)) < 0.5
    kept[0] = True
    ours = case.attribute("lime", segments=labels, samples=60, score="logit")
    theirs = superpixels.peer_lime(*given, kept)
    yield Row("lime", "captum", ours, theirs, partial(np.asarray, theirs))
    ours = case.attribute("kernelshap", segments=labels, samples=62)
    theirs = superpixels.peer_kernelshap(*given)
    yield Row("kernelshap", "captum", ours, theirs, partial(np.asarray, theirs))


COMPARISONS = (scorecam, ablationcam, eigencam, kpcacam, fem, occlusion, of_superpixels)


def export_rows(name: str, index: int) -> Iterator[Row]:
    """Every method and peer on an export, for one class."""
    sides = Sides.of_export(name, index)
    for compare in COMPARISONS:
        yield from compare(sides)


def rows(model: str, layer: str) -> Iterator[Row]:
    """Every method and peer on a model of `CASES`; `layer` is for methods that use one."""
    sides = Sides.of(CASES[model](), layer)
    for compare in COMPARISONS:
        yield from compare(sides)
