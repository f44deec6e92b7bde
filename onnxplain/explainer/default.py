"""Which method explains a model where none is named, and what is absent in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxplain.analysis.inputs import is_picture
from onnxplain.errors import OnnxplainError
from onnxplain.methods.base import Method
from onnxplain.methods.options import options_of
from onnxplain.methods.registry import method_class
from onnxplain.tensors import TensorSpec

if TYPE_CHECKING:
    from onnxplain.explainer.known_model import KnownModel


def default_method(model: KnownModel) -> tuple[str, str]:
    """The name of the method, and why it was chosen."""
    try:
        layer = model.layer("auto")
        differentiable = model.differentiability().complete
        randomness = model.randomness()
    except OnnxplainError:
        return "occlusion", "which needs neither a layer with a grid nor a gradient"
    if len(layer.grid) != model.spatial_rank:
        return "occlusion", f"as the grid of the layer {layer.tensor!r} is not that of the input"
    if not differentiable or randomness.is_random:
        why = randomness.cause if randomness.is_random else "has none"
        return "occlusion", f"which needs no gradient: the model {why}"
    if model.detector is not None:
        return "hirescam", "at the outputs of the detector's feature pyramid"
    if model.sizes_vary:
        return "hirescam", f"at the layer {layer.tensor!r}"
    rows_and_columns = " x ".join(map(str, layer.grid))
    return "hirescam", f"at the layer {layer.tensor!r}, whose grid is {rows_and_columns}"


_ABSENT = "fill", "baseline"
"""Options that say what absent parts of the input look like."""


def fills(method: str | Method, spec: TensorSpec) -> dict[str, Any]:
    """Defaults of a method's options, where the input `spec` takes no picture, and has no black."""
    if isinstance(method, Method) or is_picture(spec):
        return {}
    named = method_class(method)
    own = options_of(named)
    return {name: "zeros" for name in _ABSENT if name in own and getattr(named, name) == "black"}
