"""Tables of vector-Jacobian rules, by domain, operator and opset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_graphsurgeon as gs

from onnxplain.autodiff.node_view import NodeView
from onnxplain.errors import GradientError
from onnxplain.model.model import Model
from onnxplain.model.operators import QUANTIZERS

if TYPE_CHECKING:
    from onnxplain.autodiff.gradient_builder import GradientBuilder

Rule = Callable[..., Any]
"""`rule(g, step, dy, ...)`: one dy per output of the node, None where nothing arrives.

It returns the gradient of each input, in order, None for those without one; trailing Nones may be
left out, and a single gradient need not be a tuple. Gradients that nobody asked for are removed
afterwards, so a rule may compute them all.
"""


@dataclass(frozen=True)
class Entry:
    """A rule, the first opset it holds for, and whether its inputs broadcast to its output."""

    rule: Rule
    since: int
    broadcasts: bool


@dataclass(frozen=True)
class Override:
    """A faster form of a rule: where `applies(g, step)`, `rule` gives the same gradients."""

    applies: Callable[[GradientBuilder, NodeView], bool]
    rule: Rule


Overrides = Mapping[str, Sequence[Override]]
"""By operator of the default domain; the first that applies runs in place of the rule."""


@dataclass(frozen=True)
class RuleHooks:
    """What else is particular to a table of rules.

    `lower(model)` changes a model further that is in the form all rules rely on. `check(g,
    steps)`, before the walk over `steps`, raises GradientError where the rules do not apply.
    `start(g, score, seed)` is what the walk starts with at the tensor of scores.
    """

    lower: Callable[[Model], Model] = lambda model: model
    check: Callable[[GradientBuilder, Sequence[NodeView]], None] = lambda g, steps: None
    start: Callable[[GradientBuilder, gs.Tensor, gs.Tensor], gs.Tensor] = lambda g, score, seed: (
        seed
    )


PLAIN = RuleHooks()


class Rules:
    """Rules by (domain, operator), with faster forms of some; the latest rule for an opset."""

    def __init__(
        self,
        table: dict[tuple[str, str], list[Entry]] | None = None,
        hooks: RuleHooks = PLAIN,
        overrides: Overrides | None = None,
    ) -> None:
        self._table = {} if table is None else table
        self._overrides = overrides or {}
        self.hooks = hooks

    def add(self, domain: str, op: str, entry: Entry) -> None:
        """Enter a rule."""
        self._table.setdefault((domain, op), []).append(entry)

    def find(self, step: NodeView) -> Entry | None:
        """The definition of a node's rule, None if there is none."""
        entries = self._table.get((step.domain, step.op), [])
        begun = [entry for entry in entries if entry.since <= step.opset]
        return max(begun, key=lambda entry: entry.since, default=None)

    def gradients(
        self, g: GradientBuilder, step: NodeView, dys: Sequence[gs.Tensor | None]
    ) -> Sequence[gs.Tensor | None]:
        """Append the nodes that compute the gradients of a node's inputs, by its fastest rule.

        Raises:
            GradientError: the operator has no rule, or its rule does not know this form of it.
        """
        entry = self.find(step)
        if entry is None:
            raise GradientError(_no_rule(step))
        given = self._fastest(entry, g, step)(g, step, *dys)
        dxs = given if isinstance(given, tuple | list) else (given,)
        if not entry.broadcasts:
            return list(dxs)
        return [
            None if dx is None or x is None else g.sum_to(dx, x, step.y)
            for x, dx in zip(step.inputs, dxs, strict=False)
        ]

    def overridden(self, overrides: Overrides) -> Rules:
        """The same rules, with these faster forms and no others."""
        return Rules(self._table, self.hooks, overrides)

    def replaced(self, rules: Mapping[str, Rule], hooks: RuleHooks = PLAIN) -> Rules:
        """A copy in which operators of the default domain have other rules."""
        entries = {("", op): [Entry(rule, 1, broadcasts=False)] for op, rule in rules.items()}
        kept = {op: fast for op, fast in self._overrides.items() if op not in rules}
        return Rules({**self._table, **entries}, hooks, kept)

    def operators(self) -> list[tuple[str, str]]:
        """Every (domain, operator) that has a rule."""
        return sorted(self._table)

    def _fastest(self, entry: Entry, g: GradientBuilder, step: NodeView) -> Rule:
        overrides = () if step.domain else self._overrides.get(step.op, ())
        return next((fast.rule for fast in overrides if fast.applies(g, step)), entry.rule)


def _no_rule(step: NodeView) -> str:
    name = f"{step.domain}::{step.op}" if step.domain else step.op
    return (
        f"The operator {name} of node {step.name!r} has no gradient here: explain a layer "
        "after it, or use a method without gradients, such as scorecam or occlusion."
    )


DEFINITIONS = Rules()
"""The true derivatives, each by its definition. The modules of `rules` enter them."""


def vjp(
    *ops: str, domain: str = "", since: int = 1, broadcasts: bool = False
) -> Callable[[Rule], Rule]:
    """Enter the decorated function as the rule of `ops`.

    With `broadcasts`, the walk sums each gradient over the axes along which its input was repeated.
    """

    def enter(rule: Rule) -> Rule:
        for op in ops:
            DEFINITIONS.add(domain, op, Entry(rule, since, broadcasts))
        return rule

    return enter


def vjp_table(rules: Mapping[str, Rule]) -> None:
    """Enter rules by operator, for operators whose inputs do not broadcast."""
    for op, rule in rules.items():
        vjp(op)(rule)


STRAIGHT_THROUGH = QUANTIZERS
"""Operators whose integers stand for reals, so that a gradient passes through what they make."""

ZERO: set[str] = set()
"""Operators whose gradient is zero, or not defined, wherever they are: steps and comparisons."""


def zero_gradient(ops: Iterable[str]) -> None:
    """Declare operators through which no gradient flows."""
    ZERO.update(ops)
