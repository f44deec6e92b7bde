"""Which method explains a model where none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxplain.errors import OnnxplainError

if TYPE_CHECKING:
    from onnxplain.explainer.explainer import Explainer


def default_method(explainer: Explainer) -> tuple[str, str]:
    """The name of the method, and why it was chosen."""
    try:
        layer = explainer.layer("auto")
        differentiable = explainer.differentiability().complete
    except OnnxplainError:
        return "occlusion", "which needs neither a layer with a grid nor a gradient"
    if not differentiable:
        return "occlusion", "which needs no gradient: the model has none"
    if explainer.detector is not None:
        return "hirescam", "at the outputs of the detector's feature pyramid"
    rows_and_columns = " x ".join(map(str, layer.grid))
    return "hirescam", f"at the layer {layer.tensor!r}, whose grid is {rows_and_columns}"
