"""Inlines If and Loop where the condition or the number of iterations is constant."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, numpy_helper

from onnxplain.autodiff.lowering.fold import fold_constants
from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rename, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.model.normalize import normalize

_LARGEST = 2000
"""A loop with more nodes than this in all iterations together is not unrolled."""

_RULES = Rewrites()


def inline_control_flow(model: Model) -> Model:
    """The model with no If whose condition is constant, and no Loop whose number of rounds is.

    A Loop stays where its body can end it, or where all iterations together have more than 2,000
    nodes. Tensors outside keep their names. Constants are folded after each step, so that more
    conditions and numbers of iterations become known.
    """
    while (inlined := rewritten(model, _RULES)) is not model:
        model = fold_constants(replace(inlined, proto=normalize(inlined.proto)))
    return model


@_RULES.of("If")
def _branch(g: Rewriter, s: NodeView) -> list[Tensor] | None:
    condition = g.value(s.x)
    if condition is None:
        return None
    return _copied(g, s.attrs["then_branch" if condition.item() else "else_branch"], [])


@_RULES.of("Loop")
def _rounds(g: Rewriter, s: NodeView) -> list[Tensor] | None:
    (limit, goes_on), body = (g.value(s.input(i)) for i in (0, 1)), s.attrs["body"]
    begins = s.input(1) is None or (goes_on is not None and bool(goes_on.item()))
    if limit is None or not begins or not _never_ends(g, body):
        return None
    rounds, states = int(limit.item()), s.inputs[2 : len(s.node.input)]
    count = len(states)
    if rounds * len(body.node) > _LARGEST or (rounds < 1 and len(s.outputs) > count):
        return None
    made = []
    for number in range(rounds):
        given = [g.constant(np.int64(number)), g.constant(True)]
        _, *results = _copied(g, body, [*given, *states])
        states = results[:count]
        made.append([g.Unsqueeze(row, [0]) for row in results[count:]])
    return [*states, *(g.Concat(*rows, axis=0) for rows in zip(*made, strict=True))]


def _never_ends(g: Rewriter, body: GraphProto) -> bool:
    """Whether the condition that a loop body returns is always true."""
    makers = {name: node for node in body.node for name in node.output}
    name = body.output[0].name
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    condition = ({t.name: t for t in body.initializer} | g.index.constants).get(name)
    if name in makers:  # only a Constant has the attribute `value`
        condition = attributes(makers[name]).get("value")
    lasts = condition is not None and bool(numpy_helper.to_array(condition).item())
    return lasts or name == body.input[1].name


def _copied(g: Rewriter, body: GraphProto, arguments: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a copy of a body, whose inputs are `arguments`.

    Tensors and initializers of the body get new names, so it can be copied any number of times.
    """
    own = dict(zip((value.name for value in body.input), arguments, strict=True))
    own |= {t.name: g.constant(numpy_helper.to_array(t)) for t in body.initializer}
    own |= {name: g.argument(name) for node in body.node for name in node.output if name}
    new = {tensor.name: tensor for tensor in own.values()}
    nodes = deepcopy(body.node)
    rename(nodes, {name: tensor.name for name, tensor in own.items()})
    for node in nodes:
        inputs, outputs = (
            [new.get(name, g.tensor(name)) for name in names] for names in (node.input, node.output)
        )
        name = g.argument(node.op_type.lower()).name
        copy = gs.Node(node.op_type, name, attributes(node), inputs, outputs, domain=node.domain)
        g.graph.nodes.append(copy)
    # The copies of subgraphs read tensors by name, so that these cannot get the names of outputs.
    results = (own.get(value.name, g.tensor(value.name)) for value in body.output)
    return [g.Identity(result) for result in results]
