"""Inlines If and Loop where the condition or the number of iterations is constant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxplain.autodiff.lowering.fold import fold_constants
from onnxplain.autodiff.lowering.rewrite import rename
from onnxplain.model.evaluation import is_small
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.model.normalize import normalize
from onnxplain.tensors import Array
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import with_contents

_LARGEST = 2000
"""A loop with more nodes than this in all iterations together is not unrolled."""


def inline_control_flow(model: Model) -> Model:
    """The model with no If whose condition is constant, and no Loop whose number of rounds is.

    A Loop stays where its body can end it, or where all iterations together have more than 2,000
    nodes. Tensors outside keep their names. Constants are folded after each step, so that more
    conditions and numbers of iterations become known.
    """
    while (inlined := _inlined_once(model)) is not None:
        model = fold_constants(inlined)
    return model


def _inlined_once(model: Model) -> Model | None:
    """The model after one pass; None where there is nothing to inline."""
    site = _Site(model)
    written = [(node, site.write_out(node)) for node in model.proto.graph.node]
    if all(nodes is None for _, nodes in written):
        return None
    nodes = [part for node, parts in written for part in ([node] if parts is None else parts)]
    constants = [*model.proto.graph.initializer, *site.initializers]
    inlined = with_contents(model, node=nodes, initializer=constants)
    return replace(inlined, proto=normalize(inlined.proto))


class _Site:
    """The graph that bodies are copied to. `initializers` collects the weights of the bodies."""

    def __init__(self, model: Model) -> None:
        self.initializers: list[TensorProto] = []
        self._constants = model.index.constants

    def write_out(self, node: NodeProto) -> list[NodeProto] | None:
        """The nodes that replace an If or a Loop; None where it must stay."""
        if node.op_type == "If":
            return self._branch(node)
        return self._rounds(node) if node.op_type == "Loop" else None

    def _branch(self, node: NodeProto) -> list[NodeProto] | None:
        condition = self._value(node.input[0])
        if condition is None:
            return None
        branch = attributes(node)["then_branch" if condition.item() else "else_branch"]
        nodes, results = self._copy(branch, [], _prefix(node))
        return [*nodes, *_aliases(results, node.output)]

    def _rounds(self, node: NodeProto) -> list[NodeProto] | None:
        (limit, goes_on), states = map(self._value, node.input[:2]), list(node.input[2:])
        body = attributes(node)["body"]
        begins = not node.input[1] or (goes_on is not None and bool(goes_on.item()))
        if limit is None or not begins or not self._never_ends(body):
            return None
        rounds, count = int(limit.item()), len(states)
        if rounds * len(body.node) > _LARGEST or (rounds < 1 and len(node.output) > count):
            return None
        nodes: list[NodeProto] = []
        made: list[list[str]] = []
        for number in range(rounds):
            prefix = f"{_prefix(node)}{number}/"
            given = [self._add(prefix + "number", number), self._add(prefix + "goes_on", True)]
            copied, (_, *results) = self._copy(body, [*given, *states], prefix)
            nodes += copied
            states = results[:count]
            made.append(results[count:])
        nodes += _aliases(states, node.output[:count])
        for parts, name in zip(zip(*made, strict=True), node.output[count:], strict=True):
            nodes += self._stacked(parts, name)
        return nodes

    def _never_ends(self, body: GraphProto) -> bool:
        """Whether the condition that a loop body returns is always true."""
        makers = {name: node for node in body.node for name in node.output}
        name = body.output[0].name
        while name in makers and makers[name].op_type == "Identity":
            name = makers[name].input[0]
        condition = ({t.name: t for t in body.initializer} | self._constants).get(name)
        if name in makers:  # only a Constant has the attribute `value`
            condition = attributes(makers[name]).get("value")
        lasts = condition is not None and bool(numpy_helper.to_array(condition).item())
        return lasts or name == body.input[1].name

    def _stacked(self, parts: Sequence[str], name: str) -> list[NodeProto]:
        """Nodes that stack a tensor of each iteration along a new first axis."""
        axis = self._add(f"{PREFIX}{name}/axis", [0])
        rows = [f"{part}/row" for part in parts]
        pairs = zip(parts, rows, strict=True)
        raised = [helper.make_node("Unsqueeze", [part, axis], [row], row) for part, row in pairs]
        return [*raised, helper.make_node("Concat", rows, [name], name, axis=0)]

    def _copy(
        self, body: GraphProto, arguments: Sequence[str], prefix: str
    ) -> tuple[list[NodeProto], list[str]]:
        """Copies of the nodes of a body with the inputs `arguments`, and the names of its outputs.

        Tensors and initializers of the body get new names, so it can be copied any number of times.
        """
        copy = GraphProto()
        copy.CopyFrom(body)
        own = [t.name for t in copy.initializer]
        own += [name for node in copy.node for name in node.output if name]
        names = {name: prefix + name for name in own}
        names.update(zip((value.name for value in body.input), arguments, strict=True))
        rename(copy.node, names)
        for entry in (*copy.initializer, *copy.node):
            entry.name = entry.name and prefix + entry.name
        self.initializers.extend(copy.initializer)
        return list(copy.node), [names.get(value.name, value.name) for value in body.output]

    def _add(self, name: str, value: ArrayLike) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _value(self, name: str) -> Array | None:
        tensor = self._constants.get(name)
        return None if tensor is None or not is_small(tensor) else numpy_helper.to_array(tensor)


def _prefix(node: NodeProto) -> str:
    """A prefix for names in the copies of a body; unique, because the node's output name is."""
    return f"{PREFIX}{next(filter(None, node.output))}/"


def _aliases(sources: Iterable[str], names: Iterable[str]) -> list[NodeProto]:
    pairs = zip(sources, names, strict=True)
    return [helper.make_node("Identity", [source], [name], name) for source, name in pairs if name]
