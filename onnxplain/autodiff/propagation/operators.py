"""Groups of operators, and the error for those that a table has no rule for."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from onnxplain.autodiff.rule import GradientBuilder, Gradients, NodeView, Tensor
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import ZERO
from onnxplain.errors import GradientError
from onnxplain.model import operators

STRUCTURAL = operators.COPIES | operators.MOVES | operators.FILLS
"""They move values, and may repeat some or leave some out."""

UNARY = (operators.UNARY - operators.LINEAR) | {"Pow", "PRelu"}
"""Functions of each value of the first input; other inputs seldom depend on the sample."""


def standard(g: GradientBuilder, s: NodeView, *dys: Tensor | None) -> Gradients:
    """The true gradients, as a rule of a table."""
    return STANDARD.gradients(g, s, dys)


def refusing(method: str, known: Container[str], instead: str) -> Callable[..., None]:
    """A `RuleHooks.check` that raises GradientError for operators that are not in `known`."""

    def check(g: GradientBuilder, steps: Sequence[NodeView]) -> None:
        for step in steps:
            if step.domain or (step.op not in known and step.op not in ZERO):
                raise refusal(method, step, "has no rule", instead)

    return check


def refusal(method: str, step: NodeView, why: str, instead: str) -> GradientError:
    """The error for a node that a method has no rule for."""
    return GradientError(f"The {step.full_op} {step.node.name!r} {why} in {method}: use {instead}.")
