"""Tables of vector-Jacobian rules, by domain, operator and opset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxplain.autodiff.node_view import Gradients, NodeView, Tensor
from onnxplain.errors import GradientError
from onnxplain.model.model import Model

if TYPE_CHECKING:
    from onnxplain.autodiff.gradient_builder import GradientBuilder

Rule = Callable[..., Any]
"""`rule(g, step, dy, ...)`: one dy per output of the node, None for an output without a gradient.

It returns the gradient of each input, in order, None for those without one. Trailing Nones may be
left out, and a single gradient need not be a tuple. Gradients that are not read are removed later,
so a rule may compute all of them.
"""


@dataclass(frozen=True)
class Entry:
    """A rule, the first opset it is for, and whether its inputs broadcast to its output."""

    rule: Rule
    since: int
    broadcasts: bool


Overrides = Mapping[str, Sequence[Rule]]
"""Faster forms of rules, by operator of the default domain.

The first that applies replaces the rule, and computes the same gradients; one that does not apply
returns None.
"""


@dataclass(frozen=True)
class RuleHooks:
    """Functions that belong to a table of rules.

    `lower(model)` returns a changed copy of a model that is already lowered. `check(g, steps)` is
    called before the walk over `steps`, and raises GradientError where the rules do not apply.
    `start(g, score, seed)` returns the gradient that the walk starts with at the score tensor.
    Outputs of the operators `constants` count as constants: nothing passes through them. `result`
    is what the rules compute, in the names of the results.
    """

    lower: Callable[[Model], Model] = lambda model: model
    check: Callable[[GradientBuilder, Sequence[NodeView]], None] = lambda g, steps: None
    start: Callable[[GradientBuilder, Tensor, Tensor], Tensor] = lambda g, score, seed: seed
    constants: frozenset[str] = frozenset()
    result: str = "gradient"


PLAIN = RuleHooks()


class Rules:
    """Rules by (domain, operator), with faster forms of some."""

    def __init__(
        self,
        table: dict[tuple[str, str], Entry] | None = None,
        hooks: RuleHooks = PLAIN,
        overrides: Overrides | None = None,
    ) -> None:
        self._table = {} if table is None else table
        self._overrides = overrides or {}
        self.hooks = hooks

    def add(self, domain: str, op: str, entry: Entry) -> None:
        """Add a rule."""
        self._table[domain, op] = entry

    def find(self, step: NodeView) -> Entry | None:
        """The entry with the definition of a node's rule; None if there is no rule."""
        entry = self._table.get((step.domain, step.op))
        return entry if entry is not None and entry.since <= step.opset else None

    def gradients(self, g: GradientBuilder, step: NodeView, dys: Gradients) -> Gradients:
        """Append the nodes that compute the gradients of a node's inputs, by its fastest rule.

        Raises:
            GradientError: the operator has no rule, its rule does not support this form of it, or
                the attributes and ranks of the node do not fit its operator.
        """
        entry = self.find(step)
        if entry is None:
            raise GradientError(_no_rule(step))
        try:
            return self._by_rule(entry, g, step, dys)
        except (ValueError, LookupError, ArithmeticError) as error:
            raise GradientError(
                f"The node {step.name!r} ({step.op}) has no gradient, as its attributes or the "
                f"ranks of its inputs do not fit it ({error}): use a method without gradients, "
                "such as occlusion."
            ) from error

    def _by_rule(
        self, entry: Entry, g: GradientBuilder, step: NodeView, dys: Gradients
    ) -> Gradients:
        faster = () if step.domain else self._overrides.get(step.op, ())
        made = (rule(g, step, *dys) for rule in (*faster, entry.rule))
        given = next((gradients for gradients in made if gradients is not None), ())
        dxs = given if isinstance(given, tuple | list) else (given,)
        if not entry.broadcasts:
            return dxs
        return [
            None if dx is None or x is None else g.sum_to(dx, x, step.y)
            for x, dx in zip(step.inputs, dxs, strict=False)
        ]

    def overridden(self, overrides: Overrides) -> Rules:
        """The same rules, with these faster forms instead of the present ones."""
        return Rules(self._table, self.hooks, overrides)

    def replaced(self, rules: Mapping[str, Rule], hooks: RuleHooks = PLAIN) -> Rules:
        """A copy in which operators of the default domain have other rules."""
        entries = {("", op): Entry(rule, 1, broadcasts=False) for op, rule in rules.items()}
        kept = {op: fast for op, fast in self._overrides.items() if op not in rules}
        return Rules({**self._table, **entries}, hooks, kept)

    def operators(self) -> list[tuple[str, str]]:
        """Every (domain, operator) that has a rule."""
        return sorted(self._table)


def _no_rule(step: NodeView) -> str:
    return (
        f"The operator {step.full_op} of node {step.name!r} has no gradient here: explain a layer "
        "after it, or use a method without gradients, such as occlusion."
    )


DEFINITIONS = Rules()
"""The true derivatives, each by its definition. The modules of `rules` add them."""


def vjp(
    *ops: str, domain: str = "", since: int = 1, broadcasts: bool = False
) -> Callable[[Rule], Rule]:
    """Add the decorated function as the rule of `ops`, from opset `since`.

    With `broadcasts`, each gradient is summed over the axes along which its input was broadcast.
    """

    def enter(rule: Rule) -> Rule:
        for op in ops:
            DEFINITIONS.add(domain, op, Entry(rule, since, broadcasts))
        return rule

    return enter


def vjps(rules: Mapping[str, Rule], broadcasts: bool = False) -> None:
    """Add rules by operator, see `vjp`."""
    for op, rule in rules.items():
        vjp(op, broadcasts=broadcasts)(rule)


ZERO = frozenset(
    "And ArgMax ArgMin Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor "
    "BlackmanWindow Ceil ConstantOfShape Equal EyeLike Floor Greater GreaterOrEqual HammingWindow "
    "HannWindow Hardmax IsInf IsNaN Less LessOrEqual MelWeightMatrix Multinomial NonMaxSuppression "
    "NonZero Not Or RandomNormalLike RandomUniformLike Round Shape Sign Size Unique Xor".split()
)
"""Operators whose gradient is zero everywhere, or not defined: step functions, comparisons."""
