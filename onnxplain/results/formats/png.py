"""The picture to look at: the overlay, or the contact sheet of methods that have one."""

from __future__ import annotations

from onnxplain.results.data import ExplanationData
from onnxplain.results.formats.encoding import Request
from onnxplain.results.formats.png_file import encode_png
from onnxplain.results.render import Caption, captioned_sheet, overlay
from onnxplain.tensors import Array


def encode(explanation: ExplanationData, request: Request) -> dict[str, bytes]:
    """Return an 8-bit colour PNG."""
    return {".png": encode_png(draw(explanation, request.colormap))}


def draw(explanation: ExplanationData, colormap: str) -> Array:
    """Return the overlay or the contact sheet with its caption: uint8 RGB."""
    if explanation.sheet is not None:
        return captioned_sheet(explanation.sheet, _sheet_caption(explanation))
    return overlay(
        explanation.picture,
        explanation.heatmap,
        _overlay_caption(explanation),
        explanation.heatmap_range,
        colormap=colormap,
        seen=explanation.seen,
    )


def _overlay_caption(explanation: ExplanationData) -> Caption:
    layer = f" · {explanation.looked_at}" if explanation.layers else ""
    return Caption(
        title=explanation.target.title,
        score=explanation.scored,
        details=explanation.method + layer,
    )


def _sheet_caption(explanation: ExplanationData) -> Caption:
    if len(explanation.layers) > 1:
        shown = f"{explanation.method} · {explanation.looked_at}, each on its own scale"
        return Caption(title=explanation.target.title, score=explanation.scored, details=shown)
    if explanation.method == "activation_maximization":
        layer = f" · {explanation.looked_at}" if explanation.layers else ""
        start, end = (explanation.diagnostics[name] for name in ("at_start", "at_end"))
        details = f"{explanation.method}{layer} · from {start:.4g} to {end:.4g}"
        return Caption(title=explanation.target.title.replace("_", " "), score="", details=details)
    *_, channels, height, width = explanation.values.shape
    size = f"{channels} channels of {height} × {width}, each on its own scale"
    title = explanation.layer or explanation.target.title
    return Caption(title=title, score="", details=f"{explanation.method} · {size}")
