"""Gradients against finite differences: every test of a rule uses this package."""

from tools.gradcheck.check import check_gradient, gradients
from tools.gradcheck.nodes import distinct, normal, single_node, uniform
from tools.gradcheck.sizes import check_node, ints

__all__ = [
    "check_gradient",
    "check_node",
    "distinct",
    "gradients",
    "ints",
    "normal",
    "single_node",
    "uniform",
]
