"""EmbedLayerNormalization, the fused first layer of text models, with its sums as nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.model.operators import MICROSOFT
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import with_contents

_OP = "EmbedLayerNormalization"
_INPUTS = "ids segments words positions segment_words gamma beta mask position_ids".split()
"""The operator's inputs, in order; some may be missing: see ONNX Runtime's ContribOperators.md."""


def with_plain_embeddings(model: Model) -> Model:
    """The model in which a Gather looks up the embedding of each token, before it is normalized.

    ONNX Runtime's optimizer fuses it with the other embeddings, the normalization, and a count of
    the tokens that the mask keeps. The model itself if it has no such node.
    """
    if not any(map(_is_fused, model.proto.graph.node)):
        return model
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    for number, node in enumerate(model.proto.graph.node):
        if not _is_fused(node):
            nodes.append(node)
            continue
        written, added = _written_out(node, f"{PREFIX}embedding_{number}/", model.opset)
        nodes += written
        constants += added
    initializers = [*model.proto.graph.initializer, *constants]
    return with_contents(model, node=nodes, initializer=initializers)


def _is_fused(node: NodeProto) -> bool:
    return node.op_type == _OP and node.domain == MICROSOFT


def _written_out(
    node: NodeProto, prefix: str, opset: int
) -> tuple[Sequence[NodeProto], Sequence[TensorProto]]:
    """The nodes that replace the fused one, and their constants."""
    given = dict(zip(_INPUTS, node.input, strict=False))
    output, count, total = [*node.output, "", ""][:3]
    one, two, zero = (
        numpy_helper.from_array(np.array([value]), f"{prefix}{value}") for value in (1, 2, 0)
    )
    nodes = [_node("Gather", [given["words"], given["ids"]], prefix + "words")]
    if count:
        nodes.append(_count(given.get("mask") or given["ids"], one.name, count, opset))
        if not given.get("mask"):  # then nothing is counted
            nodes[-1].output[0] = prefix + "ids"
            nodes.append(_node("Sub", [prefix + "ids", prefix + "ids"], count))
    if given.get("position_ids"):
        nodes.append(
            _node("Gather", [given["positions"], given["position_ids"]], prefix + "places")
        )
    else:
        nodes += [
            _node("Shape", [given["ids"]], prefix + "shape"),
            _node("Slice", [prefix + "shape", one.name, two.name], prefix + "length"),
            _node("Slice", [given["positions"], zero.name, prefix + "length"], prefix + "places"),
        ]
    summed = total or prefix + "sum"
    if given.get("segments"):
        nodes += [
            _node("Add", [prefix + "words", prefix + "places"], prefix + "placed"),
            _node("Gather", [given["segment_words"], given["segments"]], prefix + "segments"),
            _node("Add", [prefix + "placed", prefix + "segments"], summed),
        ]
    else:
        nodes.append(_node("Add", [prefix + "words", prefix + "places"], summed))
    epsilon = attributes(node).get("epsilon", 1e-12)
    normalization = [summed, given["gamma"], given["beta"]]
    nodes.append(_node("LayerNormalization", normalization, output))
    nodes[-1].attribute.append(helper.make_attribute("epsilon", epsilon))
    return nodes, [one, two, zero]


def _count(mask: str, axis: str, output: str, opset: int) -> NodeProto:
    """The number of tokens of each sample, from a mask of 0 and 1."""
    if opset >= _AXES_AS_INPUT:
        counted = _node("ReduceSum", [mask, axis], output)
    else:
        counted = _node("ReduceSum", [mask], output)
        counted.attribute.append(helper.make_attribute("axes", [1]))
    counted.attribute.append(helper.make_attribute("keepdims", 0))
    return counted


_AXES_AS_INPUT = 13
"""The opset from which ReduceSum reads its axes from an input."""


def _node(op: str, inputs: Sequence[str], output: str) -> NodeProto:
    return helper.make_node(op, inputs, [output], name=output)
