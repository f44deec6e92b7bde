"""Explanations for deployed ONNX models, on ONNX Runtime alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxplain.explainer import Explainer
    from onnxplain.exporting import export
    from onnxplain.images.picture import read_picture
    from onnxplain.images.preprocess import Preprocess
    from onnxplain.metrics.sanity import sanity_check
    from onnxplain.results.comparison import draw_comparison
    from onnxplain.results.explanation import Attribution, Explanation
    from onnxplain.results.text_explanation import TextExplanation

__version__ = "0.1.0"

__all__ = [
    "Attribution",
    "Explainer",
    "Explanation",
    "Preprocess",
    "TextExplanation",
    "__version__",
    "draw_comparison",
    "export",
    "read_picture",
    "sanity_check",
]

_HOMES = {
    "Explainer": "onnxplain.explainer",
    "Explanation": "onnxplain.results.explanation",
    "Attribution": "onnxplain.results.explanation",
    "TextExplanation": "onnxplain.results.text_explanation",
    "Preprocess": "onnxplain.images.preprocess",
    "draw_comparison": "onnxplain.results.comparison",
    "export": "onnxplain.exporting.export",
    "read_picture": "onnxplain.images.picture",
    "sanity_check": "onnxplain.metrics.sanity",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `onnxplain --help` starts fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'onnxplain' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
