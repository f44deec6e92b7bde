"""The drawing of an explanation: by its kind, or the contact sheet of methods that have one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnxplain.results.data import ExplanationData
from onnxplain.results.formats.png_file import encode_png
from onnxplain.results.render.frame import Caption, frame, page_for
from onnxplain.results.render.overlay import overlay
from onnxplain.results.render.row import draw_row
from onnxplain.results.render.signal import draw_signal
from onnxplain.results.render.volume import draw_volume
from onnxplain.tensors import Array


def encode(explanation: ExplanationData, colormap: str) -> bytes:
    """Return an 8-bit color PNG."""
    return encode_png(draw(explanation, colormap))


def draw(explanation: ExplanationData, colormap: str) -> Array:
    """Return the drawing or the contact sheet with its caption: uint8 RGB."""
    sheet = explanation.sheet
    if sheet is not None:
        return frame(sheet, _sheet_caption(explanation), [], page_for(sheet))
    shown = _method_and_layer(explanation), explanation.passes, explanation.quality_in_words
    details = " · ".join(filter(None, shown))
    caption = Caption(explanation.target.title, explanation.scored, details)
    return _DRAWINGS[explanation.kind](explanation, caption, colormap)


def _picture(explanation: ExplanationData, caption: Caption, colormap: str) -> Array:
    return overlay(
        explanation.picture,
        explanation.heatmap,
        caption,
        explanation.heatmap_range,
        colormap=colormap,
        seen=explanation.seen,
        boxes=explanation.target.boxes,
    )


_DRAWINGS: Mapping[str, Callable[[ExplanationData, Caption, str], Array]] = {
    "picture": _picture,
    "scene": _picture,
    "volume": draw_volume,
    "signal": draw_signal,
    "row": draw_row,
}
"""By the kind of what is explained."""


def _method_and_layer(explanation: ExplanationData) -> str:
    return explanation.method + (f" · {explanation.looked_at}" if explanation.layers else "")


def _sheet_caption(explanation: ExplanationData) -> Caption:
    title, looked_at = explanation.target.title, _method_and_layer(explanation)
    if len(explanation.layers) > 1:
        return Caption(title, explanation.scored, f"{looked_at}, each on its own scale")
    if explanation.method == "activation_maximization":
        start, end = (explanation.diagnostics[name] for name in ("at_start", "at_end"))
        return Caption(title.replace("_", " "), "", f"{looked_at} · from {start:.4g} to {end:.4g}")
    *_, channels, height, width = explanation.values.shape
    size = f"{channels} channels of {height} × {width}, each on its own scale"
    return Caption(explanation.layer or title, "", f"{explanation.method} · {size}")
