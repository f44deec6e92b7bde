"""Einsum: exchange an operand with the output."""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.linear import identity
from onnxplain.autodiff.scatter import size, vector
from onnxplain.autodiff.table import vjp


@dataclass(frozen=True)
class Equation:
    """Letters of each operand and of the output, with those that an ellipsis stands for."""

    operands: list[str]
    output: str
    unused: Iterator[str]


@vjp("Einsum")
def einsum(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> list[gs.Tensor]:
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


def _operand(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, equation: Equation, i: int
) -> gs.Tensor:
    """The output and the other operands, summed to the letters of operand `i`.

    A letter that no other has, or perhaps with size 1, needs ones to spread over; one that the
    operand has twice needs the identity, so that only the diagonal gets a gradient.
    """
    x = s.inputs[i]
    others = [j for j in range(len(s.inputs)) if j != i]
    terms = [equation.output, *(equation.operands[j] for j in others)]
    factors = [dy, *(s.inputs[j] for j in others)]
    found = _sizes(g, [(s.inputs[j], equation.operands[j]) for j in others])
    result: list[str] = []
    repeated: list[int] = []
    large: list[int | str | None] = []
    for axis, letter in enumerate(equation.operands[i]):
        own, other = _dim(g, x, axis), found[letter]
        large.append(own if isinstance(own, int) or other <= {own, 1} else None)
        if own == 1 and not other <= {1}:
            repeated.append(axis)
        elif letter in result:
            result.append(next(equation.unused))
            terms.append(letter + result[-1])
            factors.append(g.Cast(identity(g, size(g, x, axis)), to=TensorProto.FLOAT))
        else:
            result.append(letter)
            if letter not in equation.output and not _spreads(own, other):
                terms.append(letter)
                factors.append(g.Expand(F32(1), vector(g, [size(g, x, axis)])))
    dx = g.Einsum(*factors, equation=f"{','.join(terms)}->{''.join(result)}")
    if repeated:
        dx = g.Unsqueeze(dx, np.array(repeated))
    return g.unbroadcast(dx, tuple(large), x)


def _sizes(
    g: GradientBuilder, operands: Sequence[tuple[gs.Tensor, str]]
) -> dict[str, set[int | str | None]]:
    """The sizes that each letter has in some operands."""
    sizes = defaultdict(set)
    for x, term in operands:
        for axis, letter in enumerate(term):
            sizes[letter].add(_dim(g, x, axis))
    return sizes


def _spreads(own: int | str | None, others: set[int | str | None]) -> bool:
    """Whether one of the other operands is sure to have the size of this one."""
    return any(
        other not in (1, None) and (isinstance(other, int) or other == own) for other in others
    )


def _dim(g: GradientBuilder, x: gs.Tensor, axis: int) -> int | str | None:
    dims = g.dims(x)
    return None if dims is None else dims[axis]
