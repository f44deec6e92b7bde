"""Constant folding: small tensors that follow from shapes and constants are computed once.

Exported models contain much arithmetic on shapes. Most of it does not depend on the input size.
"""

from __future__ import annotations

from onnx import NodeProto

from onnxplain.model.graph_index import reads, subgraphs
from onnxplain.model.model import Model
from onnxplain.model.operators import RANDOM, ROUNDS, STANDARD_DOMAINS
from onnxplain.model.shapes import ShapeEnv
from onnxplain.transforms.extract import with_contents

_STAYS = RANDOM | ROUNDS
"""Not folded; ROUNDS, because runtimes detect quantized weights by these nodes."""


def fold_constants(model: Model) -> Model:
    """The model with small tensors that no input's value can change turned into initializers.

    A static dimension is a constant, even if other dimensions of the same tensor are not static.
    Large weights and tensors computed from them stay as they are.
    """
    changed = model
    while (folded := folded_once(changed)) is not None:
        changed = folded
    return model if changed is model else without_dead_nodes(changed)


def folded_once(model: Model) -> Model | None:
    """The model after one pass of folding; None where there is nothing to fold.

    After a pass more shapes may be known, so that another pass can fold more.
    """
    graph = model.proto.graph
    env = ShapeEnv.of_model(model.proto)
    kept = [node for node in graph.node if not _is_constant(env, node)]
    if len(kept) == len(graph.node):
        return None
    read = {name for node in kept for name in reads(node)} | {v.name for v in graph.output}
    made = (name for node in graph.node for name in node.output if name in read)
    values = (env.constant(name) for name in made)
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    constants += [value for value in values if value is not None]
    return with_contents(model, node=kept, initializer=constants)


def _is_constant(env: ShapeEnv, node: NodeProto) -> bool:
    """Whether the outputs of a node are constant and small; their values are added to `env`."""
    env.learn_types(node)
    foldable = any(node.input) and node.domain in STANDARD_DOMAINS and not any(subgraphs(node))
    if not foldable or node.op_type in _STAYS:
        return False
    env.learn_values(node)
    return all(env.constant(name) is not None for name in node.output if name)


def without_dead_nodes(model: Model) -> Model:
    """The model without nodes that no output depends on, such as a Shape after folding."""
    alive = model.index.ancestors(model.index.outputs)
    return with_contents(model, node=[model.index.nodes[i] for i in sorted(alive)])
