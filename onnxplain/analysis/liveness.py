"""The elements of each tensor that a score depends on.

After a transformer's last attention most tokens are still computed, but the score does not depend
on them. The elements are found backward from the score. An operator that is not known is assumed to
read all elements of its inputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxplain.model import operators
from onnxplain.model.constants import constant_values, reduced_axes
from onnxplain.model.evaluation import evaluate
from onnxplain.model.graph_index import attributes, reads
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape

Mask = NDArray[np.bool_]

Rule = Callable[["_Walk", NodeProto, Sequence[Mask]], Mapping[int, Mask] | None]
"""From the masks of a node's outputs to those of its inputs, by index; None where unknown.

Inputs not in the result hold no data: sizes, constants, scales and zero points.
"""

_SOFTMAX_OF_ONE_AXIS = 13
"""Since this opset Softmax normalizes over one axis; before, over this axis and all after it."""


def read_elements(
    model: Model, shapes: Mapping[str, Shape], picture: str, score: str
) -> dict[str, Mask]:
    """Boolean masks, by name, of the elements that `score` depends on.

    They have the shapes of the tensors between `picture` and `score`. A tensor without a mask is
    not read at all.
    """
    walk = _Walk(model, shapes)
    walk.add(score, None)
    for index in reversed(model.index.between(picture, score)):
        walk.visit(model.index.nodes[index])
    return walk.masks


class _Walk:
    """The elements that are known to be read so far."""

    def __init__(self, model: Model, shapes: Mapping[str, Shape]) -> None:
        self.model = model
        self.shapes = shapes
        self.masks: dict[str, Mask] = {}
        self.whole: set[str] = set()

    def add(self, name: str, mask: Mask | None) -> None:
        """Mark elements of a tensor as read; None marks all of them."""
        if name in self.model.index.constants or name in self.whole:
            return
        shape = self.shapes.get(name)
        read = True if mask is None or shape is None else mask | self.masks.get(name, np.False_)
        if np.all(read):
            self.whole.add(name)
            self.masks[name] = np.broadcast_to(np.True_, shape or ())
        elif np.any(read):
            self.masks[name] = np.asarray(read)

    def visit(self, node: NodeProto) -> None:
        """Mark the elements of a node's inputs that its read output elements depend on."""
        if not any(name in self.masks for name in node.output):
            return
        found = None
        selects = node.op_type in _SELECTING or not self.whole.issuperset(filter(None, node.output))
        known = all(name in self.shapes for name in (node.input[0], *node.output) if name)
        rule = _RULES.get(operators.standard_form(node.op_type))
        if selects and node.domain in operators.KNOWN_DOMAINS and rule is not None and known:
            # Where shapes contradict each other, numpy refuses them. All is read then, and a run of
            # the model shows whether it has such shapes.
            with contextlib.suppress(ValueError):
                found = rule(self, node, [self.mask(name) for name in node.output if name])
        if found is None:
            for name in reads(node):
                self.add(name, None)
            return
        for place, mask in found.items():
            self.add(node.input[place], mask)

    def mask(self, name: str) -> Mask:
        """The mask of a tensor of known shape."""
        found = self.masks.get(name)
        return np.broadcast_to(np.False_, self.shapes[name]) if found is None else found

    def shape(self, node: NodeProto, place: int) -> Shape:
        """The shape of input number `place`; () where it is absent or not known."""
        return self.shapes.get(node.input[place], ()) if place < len(node.input) else ()


def _elementwise(walk: _Walk, node: NodeProto, outputs: Sequence[Mask]) -> Mapping[int, Mask]:
    """Each element is computed from the input elements at its position, after broadcasting.

    Most operators have one data input, the first.
    """
    broadcasts = operators.standard_form(node.op_type) in operators.BROADCASTING
    places = operators.data_places(node.op_type, len(node.input)) if broadcasts else range(1)
    return {i: _shrunk(outputs[0], walk.shape(node, i)) for i in places}


def _along_last(walk: _Walk, node: NodeProto, outputs: Sequence[Mask]) -> Mapping[int, Mask]:
    """Each element is computed from all elements with the same index on the leading axes."""
    shape = walk.shape(node, 0)
    softmax = node.op_type in operators.SOFTMAXES
    flattens = softmax and walk.model.opset < _SOFTMAX_OF_ONE_AXIS
    axis = int(attributes(node).get("axis", 1 if flattens else -1)) % len(shape)
    axes = (axis,) if softmax and not flattens else tuple(range(axis, len(shape)))
    # The mean and the deviation may be outputs too; they are computed from the same rows.
    rows = np.logical_or.reduce([_any(mask, axes) for mask in outputs])
    places = range(2 if node.op_type in operators.SKIP_NORMALIZATIONS else 1)
    return dict.fromkeys(places, np.broadcast_to(rows, shape))


def _reduced(walk: _Walk, node: NodeProto, outputs: Sequence[Mask]) -> Mapping[int, Mask] | None:
    shape = walk.shape(node, 0)
    axes = reduced_axes(walk.model, node, len(shape))
    if axes is None:
        return None
    kept = tuple(1 if i in axes else size for i, size in enumerate(shape))
    return {0: np.broadcast_to(outputs[0].reshape(kept), shape)}


def _product(walk: _Walk, node: NodeProto, outputs: Sequence[Mask]) -> Mapping[int, Mask] | None:
    """Rows are computed from rows of the first factor, columns from columns of the second."""
    a, b, *added = operators.data_places(node.op_type, len(node.input))
    attrs, left, right = attributes(node), walk.shape(node, a), walk.shape(node, b)
    if min(len(left), len(right)) < 2 or attrs.get("transBatchA") or attrs.get("transBatchB"):
        return None
    rows = _any(outputs[0], (-1,))
    columns = _any(outputs[0], (-2,))
    if attrs.get("transA"):
        rows = rows.swapaxes(-1, -2)
    if attrs.get("transB"):
        columns = columns.swapaxes(-1, -2)
    found = {a: _shrunk(rows, left), b: _shrunk(columns, right)}
    return found | {c: _shrunk(outputs[0], walk.shape(node, c)) for c in added}


def _reshaped(walk: _Walk, node: NodeProto, outputs: Sequence[Mask]) -> Mapping[int, Mask]:
    return {0: outputs[0].reshape(walk.shape(node, 0))}


def _moved(walk: _Walk, node: NodeProto, outputs: Sequence[Mask]) -> Mapping[int, Mask] | None:
    """Operators that move elements: run them on the indices of the elements to see which move."""
    places = range(len(node.input)) if node.op_type == "Concat" else range(1)
    shapes = [shape for i in places if (shape := walk.shapes.get(node.input[i])) is not None]
    given = [name for name in node.input[len(places) :] if name]
    values = constant_values(walk.model, given)
    if len(shapes) < len(places) or values is None:
        return None
    starts = np.cumsum([0, *map(prod, shapes)])
    feeds = dict(zip(given, values, strict=True)) | {
        node.input[i]: np.arange(starts[i], starts[i + 1]).reshape(shape)
        for i, shape in enumerate(shapes)
    }
    made = [name for name in node.output if name]
    moved = evaluate([node], feeds, made, walk.model.proto.opset_import)
    if moved is None:
        return None
    read = np.zeros(starts[-1], np.bool_)
    for numbers, mask in zip(moved, outputs, strict=True):
        read[numbers[mask]] = True
    return {i: read[starts[i] : starts[i + 1]].reshape(shapes[i]) for i in places}


def _shrunk(mask: Mask, shape: Shape) -> Mask:
    """The mask, reduced to the shape `shape` from which a tensor was broadcast."""
    before = (1,) * (mask.ndim - len(shape)) + shape
    stretched = tuple(i for i, size in enumerate(before) if size == 1)
    return np.broadcast_to(_any(mask, stretched), before).reshape(shape)


def _any(mask: Mask, axes: tuple[int, ...]) -> Mask:
    """Whether any element along `axes` is read; these axes have length 1 in the result."""
    return np.asarray(mask.any(axis=axes, keepdims=True))


_SELECTING = frozenset({"Gather", "Slice"})
"""Operators that may not read all of their input, even where all of their output is read."""

_RULES: dict[str, Rule] = {
    **dict.fromkeys(operators.UNARY | operators.KEEPS_VALUES | operators.QUANTIZERS, _elementwise),
    **dict.fromkeys(operators.BROADCASTING | {"Expand"}, _elementwise),
    **dict.fromkeys(operators.REDUCTIONS, _reduced),
    **dict.fromkeys(operators.SOFTMAXES | operators.NORMALIZES_LAST, _along_last),
    **dict.fromkeys(["MatMul", "Gemm"], _product),
    **dict.fromkeys(operators.KEEPS_ORDER, _reshaped),
    **dict.fromkeys(["Concat", "Gather", "Slice", "Split", "Transpose"], _moved),
}
