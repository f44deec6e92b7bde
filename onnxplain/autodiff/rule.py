"""The names that modules of rules need, in one place."""

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import Gradients, NodeView, Tensor
from onnxplain.autodiff.table import vjp, vjps

__all__ = ["F32", "GradientBuilder", "Gradients", "NodeView", "Tensor", "vjp", "vjps"]
