"""Einsum: its gradient is an Einsum with an operand and the output exchanged."""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.autodiff.rules.linear import identity


@dataclass(frozen=True)
class Equation:
    """Letters of each operand and of the output; an ellipsis is replaced by letters."""

    operands: list[str]
    output: str
    unused: Iterator[str]


@vjp("Einsum")
def einsum(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    ranks = [g.rank(x) for x in s.inputs]
    equation = _read(s.attrs["equation"].replace(" ", ""), ranks)
    return [_operand(g, s, dy, equation, i) for i in range(len(s.inputs))]


def _read(text: str, ranks: list[int]) -> Equation:
    left, arrow, output = text.partition("->")
    unused = (letter for letter in string.ascii_letters if letter not in text)
    terms = left.split(",")
    named = [term.replace("...", "") for term in terms]
    widths = [rank - len(term) for rank, term in zip(ranks, named, strict=True)]
    batch = "".join(next(unused) for _ in range(max(widths)))
    if not arrow:
        once = sorted(letter for letter in set("".join(named)) if left.count(letter) == 1)
        output = "..." + "".join(once)
    spelled = [
        term.replace("...", batch[len(batch) - width :])
        for term, width in zip(terms, widths, strict=True)
    ]
    return Equation(spelled, output.replace("...", batch), unused)


def _operand(g: GradientBuilder, s: NodeView, dy: Tensor, equation: Equation, i: int) -> Tensor:
    """The gradient of operand `i`: the Einsum of `dy` and the other operands.

    A letter that the others do not have, or may have with size 1, needs a vector of ones. A letter
    that the operand has twice needs an identity matrix: only the diagonal gets a gradient.
    """
    x, dims = s.inputs[i], [g.dims(one) or () for one in s.inputs]
    others = [j for j in range(len(s.inputs)) if j != i]
    terms = [equation.output, *(equation.operands[j] for j in others)]
    factors = [dy, *(s.inputs[j] for j in others)]
    found: dict[str, set[int | str | None]] = defaultdict(set)
    for j in others:
        for letter, size in zip(equation.operands[j], dims[j], strict=True):
            found[letter].add(size)
    result: list[str] = []
    repeated: list[int] = []
    large: list[int | str | None] = []
    for axis, (letter, own) in enumerate(zip(equation.operands[i], dims[i], strict=True)):
        other = found[letter]
        large.append(own if isinstance(own, int) or other <= {own, 1} else None)
        if own == 1 and not other <= {1}:
            repeated.append(axis)
        elif letter in result:
            result.append(next(equation.unused))
            terms.append(letter + result[-1])
            factors.append(g.as_float(identity(g, g.dim(x, axis))))
        else:
            result.append(letter)
            if letter not in equation.output and not _spreads(own, other):
                terms.append(letter)
                factors.append(g.Expand(F32(1), g.dim(x, axis)))
    dx = g.Einsum(*factors, equation=f"{','.join(terms)}->{''.join(result)}")
    if repeated:
        dx = g.Unsqueeze(dx, repeated)
    return g.unbroadcast(dx, tuple(large), x)


def _spreads(own: int | str | None, others: set[int | str | None]) -> bool:
    """Whether one of the sizes `others` is known to equal `own`."""
    return any(
        other not in (1, None) and (isinstance(other, int) or other == own) for other in others
    )
