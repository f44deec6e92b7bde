"""The table of vector-Jacobian rules, by domain, operator and opset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_graphsurgeon as gs

from onnxplain.autodiff.node_view import NodeView
from onnxplain.model.model import Model
from onnxplain.model.operators import QUANTIZERS

Rule = Callable[..., Any]
"""`rule(g, step, dy, ...)`: one dy per output of the node, None where nothing flows back.

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
class Variant:
    """What else is particular to a walk, beside its rules.

    `prepare(model)` makes a model ready that is in the form all rules rely on. `check(g, steps)`,
    before the walk over `steps`, raises GradientError where the rules do not apply. `start(g,
    score, seed)` is what the walk sets out with at the tensor of scores.
    """

    prepare: Callable[[Model], Model] = lambda model: model
    check: Callable[[Any, Sequence[NodeView]], None] = lambda g, steps: None
    start: Callable[[Any, gs.Variable, gs.Variable], gs.Tensor] = lambda g, score, seed: seed


PLAIN = Variant()


class Rules:
    """Rules by (domain, operator); for an opset the latest that had begun by then."""

    def __init__(
        self,
        table: Mapping[tuple[str, str], list[Entry]] | None = None,
        variant: Variant = PLAIN,
    ) -> None:
        self._table = {key: list(entries) for key, entries in (table or {}).items()}
        self.variant = variant

    def add(self, domain: str, op: str, entry: Entry) -> None:
        """Enter a rule."""
        self._table.setdefault((domain, op), []).append(entry)

    def find(self, step: NodeView) -> Entry | None:
        """The rule for a node, None if there is none."""
        entries = self._table.get((step.domain, step.op), [])
        begun = [entry for entry in entries if entry.since <= step.opset]
        return max(begun, key=lambda entry: entry.since, default=None)

    def replaced(self, rules: Mapping[str, Rule], variant: Variant = PLAIN) -> Rules:
        """A copy in which operators of the default domain have other rules."""
        changed = Rules(self._table, variant)
        for op, rule in rules.items():
            changed._table["", op] = [Entry(rule, 1, broadcasts=False)]
        return changed

    def operators(self) -> list[tuple[str, str]]:
        """Every (domain, operator) that has a rule."""
        return sorted(self._table)


STANDARD = Rules()
"""The true derivatives."""


def vjp(
    *ops: str, domain: str = "", since: int = 1, broadcasts: bool = False
) -> Callable[[Rule], Rule]:
    """Enter the decorated function as the rule of `ops`.

    With `broadcasts`, the walk sums each gradient over the axes along which its input was repeated.
    """

    def enter(rule: Rule) -> Rule:
        for op in ops:
            STANDARD.add(domain, op, Entry(rule, since, broadcasts))
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
