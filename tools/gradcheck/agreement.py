"""Compares a model with the result of a pass, in ONNX Runtime on the same input."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, parser

from onnxplain.model.graph_index import subgraphs
from onnxplain.model.load import load
from onnxplain.model.model import Model
from tools.gradcheck.reference import Feeds, onnxruntime_function


def agreeing(
    source: ModelProto | str,
    change: Callable[[Model], Model],
    feeds: Feeds,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> Model:
    """The result of `change` for a model, after a check that its outputs are those of the model.

    Names, types and order of inputs and outputs must also stay the same.
    """
    proto = parser.parse_model(source) if isinstance(source, str) else source
    model = load(proto)
    changed = change(model)
    assert [*changed.proto.graph.input] == [*model.proto.graph.input]
    assert [*changed.proto.graph.output] == [*model.proto.graph.output]
    expected = onnxruntime_function(model.proto)(feeds)
    found = onnxruntime_function(changed.proto)(feeds)
    for value, a, b in zip(model.proto.graph.output, found, expected, strict=True):
        assert a.dtype == b.dtype, f"{value.name}: {a.dtype} instead of {b.dtype}"
        np.testing.assert_allclose(a, b, rtol, atol, err_msg=value.name)
    return changed


def nodes(model: Model) -> list[NodeProto]:
    """Every node of a model, also in subgraphs."""
    return list(_nodes(model.proto.graph))


def operators(model: Model) -> list[str]:
    """The operators of a model in order, those of other domains as domain::operator."""
    return [f"{node.domain}::{node.op_type}".removeprefix("::") for node in nodes(model)]


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in subgraphs(node):
            yield from _nodes(body)
