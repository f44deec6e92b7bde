"""A model that draws no random numbers: each draw is replaced by its mean, or its likeliest value.

Dropout and batch normalization are put in inference mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxplain.analysis.randomness import NamedNode, drawing_nodes
from onnxplain.model.graph_index import all_graphs, attributes
from onnxplain.model.model import Model
from onnxplain.model.normalize import normalize
from onnxplain.model.operators import key_of
from onnxplain.transforms.builder import PREFIX

_FLOATS = frozenset(
    [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE]
)
_CAST_LIKE = 15
"""The opset from which CastLike exists."""


def without_draws(model: Model) -> tuple[Model, Sequence[NamedNode]]:
    """The model whose known random nodes are replaced, and these nodes.

    A normal draw becomes its mean, a uniform draw the middle of its range, a Bernoulli draw its
    probability, rounded if it is an integer or a bool, and a Multinomial draw the most probable
    class. Dropout and BatchNormalization compute what they do in inference. Nodes in subgraphs are
    replaced too. Operators that are not known stay.
    """
    found = drawing_nodes(model, model.index.outputs)
    nodes = [*found.certain, *found.possible, *found.of_batch]
    fixed = [one for one in nodes if ("", one.op) in _FIXES]
    if not fixed:
        return model, ()
    proto = deepcopy(model.proto)
    # From the inside out: a graph's nodes are copied with their subgraphs.
    for graph in reversed(list(all_graphs(proto.graph))):
        kept = [new for node in graph.node for new in _fixed(node, model.opset)]
        del graph.node[:]
        graph.node.extend(kept)
    return replace(model, proto=normalize(proto)), fixed


def _fixed(node: NodeProto, opset: int) -> list[NodeProto]:
    fix = _FIXES.get(key_of(node))
    return [node] if fix is None else fix(node, opset)


def _dropout(node: NodeProto, opset: int) -> list[NodeProto]:
    del node.input[2:]
    return [node]


def _batch_normalization(node: NodeProto, opset: int) -> list[NodeProto]:
    """Without the updated statistics, which are those that are stored."""
    if not attributes(node).get("training_mode", 0):
        return [node]
    kept = [attribute for attribute in node.attribute if attribute.name != "training_mode"]
    del node.attribute[:]
    node.attribute.extend(kept)
    updated = list(zip(node.input[3:5], node.output[1:3], strict=False))
    del node.output[1:]
    stored = [helper.make_node("Identity", [old], [new]) for old, new in updated if new]
    return [node, *stored]


def _mean(given: Mapping[str, Any]) -> float:
    return float(given.get("mean", 0.0))


def _middle(given: Mapping[str, Any]) -> float:
    return float((given.get("low", 0.0) + given.get("high", 1.0)) / 2)


def _constant(number: Callable[[Mapping[str, Any]], float]) -> Fix:
    """A draw of a given shape becomes a constant."""

    def fix(node: NodeProto, opset: int) -> list[NodeProto]:
        given, out = attributes(node), node.output[0]
        sizes = _integers(given["shape"], f"{PREFIX}fixed/{out}/shape")
        dtype = given.get("dtype", TensorProto.FLOAT)
        return [sizes, _filled(sizes.output[0], number(given), dtype, out)]

    return fix


def _constant_like(number: Callable[[Mapping[str, Any]], float]) -> Fix:
    """A draw of the shape, and by default the type, of another tensor becomes a constant."""

    def fix(node: NodeProto, opset: int) -> list[NodeProto]:
        given, out = attributes(node), node.output[0]
        sizes = helper.make_node("Shape", [node.input[0]], [f"{PREFIX}fixed/{out}/shape"])
        dtype = given.get("dtype", TensorProto.FLOAT)
        if "dtype" in given or opset < _CAST_LIKE:
            return [sizes, _filled(sizes.output[0], number(given), dtype, out)]
        filled = _filled(sizes.output[0], number(given), dtype, f"{PREFIX}fixed/{out}")
        same = helper.make_node("CastLike", [filled.output[0], node.input[0]], [out])
        return [sizes, filled, same]

    return fix


def _bernoulli(node: NodeProto, opset: int) -> list[NodeProto]:
    (probability,), (out,) = node.input, node.output
    dtype = attributes(node).get("dtype")
    if dtype is None:
        return [helper.make_node("Identity", [probability], [out])]
    if dtype in _FLOATS:
        return [helper.make_node("Cast", [probability], [out], to=dtype)]
    rounded = helper.make_node("Round", [probability], [f"{PREFIX}fixed/{out}"])
    return [rounded, helper.make_node("Cast", [rounded.output[0]], [out], to=dtype)]


def _multinomial(node: NodeProto, opset: int) -> list[NodeProto]:
    given, out = attributes(node), node.output[0]
    best, repeats, several = (f"{PREFIX}fixed/{out}/{name}" for name in ("best", "count", "all"))
    return [
        helper.make_node("ArgMax", [node.input[0]], [best], axis=1, keepdims=1),
        _integers([1, given.get("sample_size", 1)], repeats),
        helper.make_node("Tile", [best, repeats], [several]),
        helper.make_node("Cast", [several], [out], to=given.get("dtype", TensorProto.INT32)),
    ]


def _integers(values: Sequence[int], name: str) -> NodeProto:
    tensor = numpy_helper.from_array(np.array(values, np.int64), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def _filled(sizes: str, number: float, dtype: int, out: str) -> NodeProto:
    value = helper.make_tensor("value", dtype, [1], [number])
    return helper.make_node("ConstantOfShape", [sizes], [out], value=value)


Fix = Callable[[NodeProto, int], list[NodeProto]]
"""From a node, which may be changed in place, and the opset to the nodes in its place."""

_FIXES: Mapping[tuple[str, str], Fix] = {
    ("", "Dropout"): _dropout,
    ("", "BatchNormalization"): _batch_normalization,
    ("", "RandomNormal"): _constant(_mean),
    ("", "RandomNormalLike"): _constant_like(_mean),
    ("", "RandomUniform"): _constant(_middle),
    ("", "RandomUniformLike"): _constant_like(_middle),
    ("", "Bernoulli"): _bernoulli,
    ("", "Multinomial"): _multinomial,
}
