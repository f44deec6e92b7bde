"""Replaces sequences of a known number of tensors by these tensors.

Scripted models use sequences where other models use Split and Concat.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.model.model import Model

Known = dict[str, list[Tensor]]
"""The elements of each sequence, as far as their number is known."""


def undo_sequences(model: Model) -> Model:
    """The model in which nothing reads a sequence whose elements are known without a run.

    Such a sequence is built from given tensors, or by a split of an axis of static size, and is
    read at constant positions. Other sequences, such as those that a loop builds, stay.
    """
    known: Known = {}
    rules = {("", op): functools.partial(rule, known) for op, rule in _RULES.items()}
    return rewritten(model, Rewrites(rules))


def _construct(known: Known, g: Rewriter, s: NodeView) -> None:
    known[s.node.output[0]] = [g.tensor(name) for name in s.node.input]


def _changed(known: Known, g: Rewriter, s: NodeView) -> None:
    """SequenceInsert and SequenceErase: the last input is the position, by default the end."""
    elements, place = known.get(s.node.input[0]), s.input(2 if s.op == "SequenceInsert" else 1)
    if elements is None or (place is not None and g.value(place) is None):
        return
    changed = known[s.node.output[0]] = [*elements]
    position = _int(g, place)
    if s.op == "SequenceErase":
        del changed[-1 if position is None else position]
    else:
        changed.insert(len(changed) if position is None else position, s.inputs[1])


def _alias(known: Known, g: Rewriter, s: NodeView) -> None:
    if s.node.input[0] in known:
        known[s.node.output[0]] = known[s.node.input[0]]


def _split(known: Known, g: Rewriter, s: NodeView) -> Tensor | None:
    axis, sizes = s.attr("axis", 0), _sizes(g, s)
    if sizes is None:
        return None
    parts = g.many("Split", len(sizes), s.x, np.array(sizes, np.int64), axis=axis)
    if s.input(1) is None and not s.attr("keepdims", 1):
        parts = [g.Squeeze(part, [axis]) for part in parts]
    known[s.node.output[0]] = parts
    return g.SequenceConstruct(*parts)


def _sizes(g: Rewriter, s: NodeView) -> list[int] | None:
    """Sizes of the parts of a SplitToSequence: as given, or equal with a smaller last one."""
    given, whole = g.value(s.input(1)), g.static_dim(s.x, s.attr("axis", 0))
    if given is not None and given.ndim:
        return [int(size) for size in given]
    if whole is None or (given is None and s.input(1) is not None):
        return None
    size = 1 if given is None else int(given)
    return [min(size, whole - start) for start in range(0, whole, size)]


def _at(known: Known, g: Rewriter, s: NodeView) -> Tensor | None:
    elements, position = known.get(s.node.input[0]), _int(g, s.inputs[1])
    return None if elements is None or position is None else elements[position]


def _length(known: Known, g: Rewriter, s: NodeView) -> Tensor | None:
    elements = known.get(s.node.input[0])
    return None if elements is None else g.constant(np.array(len(elements), np.int64))


def _concat(known: Known, g: Rewriter, s: NodeView) -> Tensor | None:
    elements, axis = known.get(s.node.input[0]), s.attrs["axis"]
    if not elements:
        return None
    if s.attr("new_axis", 0):
        elements = [g.Unsqueeze(element, [axis]) for element in elements]
    return g.Concat(*elements, axis=axis)


def _int(g: Rewriter, tensor: Tensor | None) -> int | None:
    value = g.value(tensor)
    return None if value is None else int(value.item())


_RULES: dict[str, Callable[[Known, Rewriter, NodeView], Tensor | None]] = {
    "ConcatFromSequence": _concat,
    "Identity": _alias,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": _construct,
    "SequenceErase": _changed,
    "SequenceInsert": _changed,
    "SequenceLength": _length,
    "SplitToSequence": _split,
}
