"""The public entry: a model that can be asked where it looked."""

from onnxplain.explainer.explainer import Explainer
from onnxplain.explainer.picture import Picture

__all__ = ["Explainer", "Picture"]
