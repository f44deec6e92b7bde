"""The public API: `Explainer` explains the outputs of one model."""

from onnxplain.explainer.explainer import Explainer
from onnxplain.explainer.taken import Picture

__all__ = ["Explainer", "Picture"]
