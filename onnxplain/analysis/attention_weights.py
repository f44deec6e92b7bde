"""Attention weights: the matrices, made by a softmax, that a graph multiplies values by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnx import NodeProto

from onnxplain.model.graph_index import GraphIndex, attributes
from onnxplain.model.model import Model
from onnxplain.model.operators import ARITHMETIC, KEEPS_VALUES
from onnxplain.model.shapes import Shape

_KEEPING = KEEPS_VALUES | ARITHMETIC | {"Where", "Clip"}
"""Operators that may stand between a softmax and the product, and leave each weight its place."""

_LEAST_RANK = 3  # (batch · heads, rows, columns)


@dataclass(frozen=True)
class AttentionWeights:
    """A matrix that values are multiplied by, for each head; rows ask and columns answer.

    `mixed` says that each head's is a sum over the softmaxes of several heads.
    """

    tensor: str
    shape: Shape
    mixed: bool

    @property
    def rows(self) -> int:
        """How many ask."""
        return self.shape[-2]

    @property
    def columns(self) -> int:
        """How many are asked about."""
        return self.shape[-1]


@dataclass(frozen=True)
class _Place:
    """A tensor computed from a softmax, of its shape unless its axes are `moved`."""

    tensor: str
    matrix: str
    mixed: bool = False
    moved: bool = False
    turned: bool = False


def find_attention_weights(
    model: Model, shapes: Mapping[str, Shape], picture: str, score: str
) -> list[AttentionWeights]:
    """The attention weights between `picture` and `score`, in order."""
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
    """What a softmax becomes that multiplies values; None where it multiplies none."""
    stack, seen = [_Place(softmax, softmax)], {softmax}
    while stack:
        place = stack.pop()
        readers = graph_index.readers_of(place.tensor)
        if any(_weighs(node, place, varying) for node in readers):
            return AttentionWeights(place.matrix, shapes[place.matrix], place.mixed)
        for node in readers:
            for further in _passed(node, place, shapes):
                if further.tensor not in seen:
                    seen.add(further.tensor)
                    stack.append(further)
    return None


def _weighs(node: NodeProto, place: _Place, varying: set[str]) -> bool:
    """Whether a node multiplies what varies with the picture by the matrix, from the left.

    That is also what a product from the right by the matrix turned is.
    """
    if place.moved:
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
    """Whether an Einsum of two adds up over the matrix's columns and keeps its rows."""
    equation = attributes(node)["equation"].decode().replace(" ", "")
    terms, _, result = equation.partition("->")
    operands = dict(zip(node.input, terms.split(","), strict=True))
    row, column = operands.pop(place.tensor)[-2:][:: -1 if place.turned else 1]
    return (
        row in result
        and column not in result
        and any(name in varying and column in axes for name, axes in operands.items())
    )


def _passed(node: NodeProto, place: _Place, shapes: Mapping[str, Shape]) -> Iterator[_Place]:
    """Where the matrix goes on through a node, if it does."""
    name, before = str(node.output[0]), shapes[place.matrix]
    after = shapes.get(name)
    if after is None:
        return
    if node.op_type in _KEEPING and after == shapes[place.tensor]:
        plain = not (place.moved or place.turned)
        yield _Place(name, name if plain else place.matrix, place.mixed, place.moved, place.turned)
    elif node.op_type == "Reshape" and after[-2:] == shapes[place.tensor][-2:] and not place.moved:
        matrix = place.matrix if place.turned else name
        yield _Place(name, matrix, place.mixed, turned=place.turned)
    elif node.op_type == "Transpose":
        order = list(attributes(node).get("perm", range(len(after))[::-1]))
        last = len(order) - 1
        if order == [*range(last - 1), last, last - 1] and not place.moved:
            yield _Place(name, place.matrix, place.mixed, turned=not place.turned)
        else:
            back = place.moved and after == before
            yield _Place(name, name if back else place.matrix, place.mixed, moved=not back)
    elif node.op_type == "Conv" or (node.op_type == "MatMul" and place.moved):
        same = not place.moved and after == before
        yield _Place(name, name if same else place.matrix, mixed=True, moved=place.moved)
