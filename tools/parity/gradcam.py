"""Differences of our Grad-CAM methods from pytorch-grad-cam's, torch-cam's and captum's."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from onnxplain import Explainer
from tools.cases.models import Array
from tools.parity.maps import Row, Sides
from tools.peers import exports
from tools.peers import gradcam as peers

UNDONE = {
    "gradcam++": "1e-6 in the denominator",
    "eigengradcam": "channels centered, sign left to chance",
}


SMOOTHED = ("gradcam", "layercam", "hirescam")


def _like(values: Array, ours: Array, method: str) -> Array:
    """The sign of EigenGradCAM is random there."""
    turned = method == "eigengradcam" and (values * ours).sum() < 0
    return -values if turned else values


def rows(sides: Sides, index: int) -> Iterator[Row]:
    """Every method and peer at the layer of a shipped model, for one class."""
    case, at_layer = sides.case, sides.at_layer(sides.logits)

    def ours(method: str, **options: str) -> Array:
        found = case.explainer.attribute(case.x, method, index, **options)
        return np.asarray(found.values[0])

    for method in peers.PGC:
        mine = ours(method, layer=sides.layer)
        call = partial(peers.pytorch_grad_cam, method, *at_layer, case.x, index)
        theirs = _like(call(), mine, method)
        shipped = partial(_shipped, call, mine, method)
        yield Row(method, "pytorch-grad-cam", mine, theirs, shipped, UNDONE.get(method, ""))
    for method in ("gradcam", "xgradcam", "layercam"):
        theirs = peers.torch_cam(method, *at_layer, case.x, index)
        mine = ours(method, layer=sides.layer)
        yield Row(method, "torch-cam", mine, theirs, partial(np.asarray, theirs))
    # torch-cam's alpha of Grad-CAM++ is never divided, so it cannot be compared with ours.
    path = case.explainer.model.path
    if path and "squeezenet" in path.name:  # for captum only nn.ReLU is a rectifier
        theirs = peers.captum_guided_gradcam(*at_layer, case.x, index)[0]
        mine = ours("guided_gradcam", layer=sides.layer)
        yield Row("guided_gradcam", "captum", mine, theirs, lambda: theirs)


def smoothed_rows(name: str, index: int) -> Iterator[Row]:
    """Methods with `smooth` on an export, at the layer that onnxplain finds."""
    net = exports.exported(name)
    explainer = Explainer(net.model, provider="cpu")

    def ours(method: str, smooth: str) -> Array:
        return np.asarray(explainer.attribute(net.x, method, index, smooth=smooth).values[0])

    yield from _smoothed(ours, (net.module, net.layer, net.x, index, net.reshape))


def smoothed_rows_of_shipped(sides: Sides, index: int) -> Iterator[Row]:
    """The same on a shipped model."""
    case = sides.case

    def ours(method: str, smooth: str) -> Array:
        options = {"layer": sides.layer, "smooth": smooth}
        return np.asarray(case.explainer.attribute(case.x, method, index, **options).values[0])

    yield from _smoothed(ours, (*sides.at_layer(sides.logits), case.x, index))


def _smoothed(ours: Callable[[str, str], Array], arguments: tuple[Any, ...]) -> Iterator[Row]:
    for method in SMOOTHED:
        mine = ours(method, "aug")
        call = partial(peers.aug_smooth, method, *arguments)
        # What is shipped is compared on a common scale: both from 0 to the largest value.
        shipped = partial(_on_scale, partial(call, as_shipped=True), mine)
        yield Row(f"{method}, aug", "pytorch-grad-cam", mine, call(), shipped, "maps scaled first")
        mine = ours(method, "eigen")
        theirs = peers.eigen_smooth(method, *arguments)
        oriented = theirs if (theirs * mine).sum() >= 0 else -theirs
        theirs = oriented if method == "hirescam" else np.maximum(oriented, 0)
        note = "sign left to chance"
        yield Row(
            f"{method}, eigen", "pytorch-grad-cam", mine, theirs, partial(np.asarray, theirs), note
        )


def _on_scale(call: "partial[Array]", ours: Array) -> Array:
    values = call()
    return np.asarray((values - values.min()) / np.ptp(values) * np.ptp(ours) + ours.min())


def _shipped(call: "partial[Array]", ours: Array, method: str) -> Array:
    return _like(call(as_shipped=True), ours, method)


def export_rows(name: str, index: int) -> Iterator[Row]:
    """Every method on an export; onnxplain finds the layer, and the libraries are given it."""
    net = exports.exported(name)
    explainer = Explainer(net.model, provider="cpu")
    for method in peers.PGC:
        ours = np.asarray(explainer.attribute(net.x, method, index).values[0])
        arguments = (method, net.module, net.layer, net.x, index, net.reshape)
        call = partial(peers.pytorch_grad_cam, *arguments)
        theirs = _like(call(), ours, method)
        shipped = partial(_shipped, call, ours, method)
        yield Row(method, "pytorch-grad-cam", ours, theirs, shipped, UNDONE.get(method, ""))
    found = explainer.attribute(net.x, "shapleycam", index, score="probability")
    theirs = peers.shapleycam(net.module, net.layer, net.x, index, net.reshape)
    yield Row("shapleycam", "pytorch-grad-cam", np.asarray(found.values[0]), theirs, lambda: theirs)
