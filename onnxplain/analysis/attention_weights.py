"""Attention weights: the matrices, computed by a softmax, that a graph multiplies values by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from onnx import NodeProto

from onnxplain.model.graph_index import GraphIndex, attributes
from onnxplain.model.model import Model
from onnxplain.model.operators import ARITHMETIC, KEEPS_VALUES
from onnxplain.model.shapes import Shape

_KEEPING = KEEPS_VALUES | ARITHMETIC | {"Where", "Clip"}
"""Operators that may come between a softmax and the product: they keep each weight's position."""

_LEAST_RANK = 3  # (batch · heads, rows, columns)


@dataclass(frozen=True)
class AttentionWeights:
    """The matrix that values are multiplied by, (..., queries, keys), one for each head.

    `mixed` is true where the matrix of a head is a sum over the softmaxes of several heads.
    `softmax` is the tensor that the matrix was computed from.
    """

    tensor: str
    shape: Shape
    mixed: bool
    softmax: str

    @property
    def rows(self) -> int:
        """Number of queries."""
        return self.shape[-2]

    @property
    def columns(self) -> int:
        """Number of keys."""
        return self.shape[-1]


class Factors(NamedTuple):
    """Queries, (..., queries, features), and keys, (..., features, keys), one for each head."""

    queries: str
    keys: str


@dataclass(frozen=True)
class _Place:
    """A tensor computed from a softmax; axis i of it is axis `order[i]` of the matrix."""

    tensor: str
    matrix: str
    order: tuple[int, ...]
    mixed: bool = False

    @property
    def straight(self) -> bool:
        """Whether the axes are in the order of the matrix."""
        return self.order == tuple(range(len(self.order)))

    @property
    def turned(self) -> bool:
        """Whether rows and columns are exchanged, and the other axes are in order."""
        return self.order == _turned(len(self.order))


def _turned(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


def find_attention_weights(
    model: Model, shapes: Mapping[str, Shape], picture: str, score: str
) -> list[AttentionWeights]:
    """The attention weights on a path from `picture` to `score`, in the order of the graph."""
    graph_index = model.index
    varying = graph_index.dependent([picture]) - {picture}
    found = []
    for index in graph_index.between(picture, score):
        node = graph_index.nodes[index]
        shape = shapes.get(node.output[0], ())
        rank = len(shape)
        if node.op_type != "Softmax" or rank < _LEAST_RANK:
            continue
        if attributes(node).get("axis", -1) in (-1, rank - 1):
            found.append(_followed(graph_index, shapes, varying, str(node.output[0])))
    return list(dict.fromkeys(matrix for matrix in found if matrix is not None))


def _followed(
    graph_index: GraphIndex, shapes: Mapping[str, Shape], varying: set[str], softmax: str
) -> AttentionWeights | None:
    """The matrix computed from `softmax` that multiplies values; None if there is none."""
    rank = len(shapes[softmax])
    stack, seen = [_Place(softmax, softmax, tuple(range(rank)))], {softmax}
    while stack:
        place = stack.pop()
        readers = graph_index.readers_of(place.tensor)
        if any(_weighs(node, place, varying) for node in readers):
            return AttentionWeights(place.matrix, shapes[place.matrix], place.mixed, softmax)
        for node in readers:
            further = _passed(node, place, shapes)
            if further is not None and further.tensor not in seen:
                seen.add(further.tensor)
                stack.append(further)
    return None


def find_factors(model: Model, weights: AttentionWeights, picture: str) -> Factors | None:
    """The factors of the product that a softmax is computed from.

    Between the product and the softmax may be scales, masks and rounding. None if there is no such
    product.
    """
    graph_index = model.index
    varying = graph_index.dependent([picture])
    node = graph_index.producer(weights.softmax)
    while node is not None and node.op_type != "MatMul":
        read = [name for name in node.input if name in varying]
        if node.op_type not in _KEEPING | {"Softmax"} or len(read) != 1:
            return None
        node = graph_index.producer(read[0])
    return None if node is None else Factors(*node.input)


def _weighs(node: NodeProto, place: _Place, varying: set[str]) -> bool:
    """Whether a node computes matrix · values, where values depend on the picture.

    It may also be valuesᵀ · matrixᵀ.
    """
    if not (place.straight or place.turned):
        return False
    if node.op_type == "Einsum":
        return _sums_columns(node, place, varying)
    side = 1 if place.turned else 0
    return (
        node.op_type == "MatMul"
        and node.input[side] == place.tensor
        and node.input[1 - side] in varying
    )


def _sums_columns(node: NodeProto, place: _Place, varying: set[str]) -> bool:
    """Whether an Einsum of two inputs sums over the matrix's columns and keeps its rows."""
    equation = attributes(node)["equation"].decode().replace(" ", "")
    terms, _, result = equation.partition("->")
    operands = dict(zip(node.input, terms.split(","), strict=True))
    row, column = operands.pop(place.tensor)[-2:][:: -1 if place.turned else 1]
    return (
        row in result
        and column not in result
        and any(name in varying and column in axes for name, axes in operands.items())
    )


def _passed(node: NodeProto, place: _Place, shapes: Mapping[str, Shape]) -> _Place | None:
    """The matrix in the output of a node; None where the node does not keep it."""
    name, before = str(node.output[0]), shapes[place.tensor]
    after = shapes.get(name)
    if after is None:
        return None
    rank, order, mixed = len(after), place.order, place.mixed
    moved = not (place.straight or place.turned)
    if node.op_type == "Reshape" and after[-2:] == before[-2:] and not moved:
        order = _turned(rank) if place.turned else tuple(range(rank))
    elif node.op_type == "Transpose":
        order = tuple(order[axis] for axis in attributes(node).get("perm", range(rank)[::-1]))
    elif node.op_type == "Conv" or (node.op_type == "MatMul" and moved):
        mixed = True
    elif node.op_type not in _KEEPING or after != before:
        return None
    further = _Place(name, name, order, mixed)
    return further if further.straight else replace(further, matrix=place.matrix)
