"""About how long nodes and fetches take, relative to each other; in nanoseconds of one core."""

from __future__ import annotations

import math
from collections.abc import Mapping

from onnx import NodeProto

from onnxplain.model import operators
from onnxplain.model.graph_index import attributes
from onnxplain.model.shapes import Shape

_PRODUCT = 0.02
"""One product of a convolution or a matrix."""

_PRODUCT_OF_FEW = 0.12
"""One product where each output channel reads few input channels."""

_FEW = 4

_ELEMENT = 0.35
"""One element that is read or written."""

FETCHED = 2.5
"""One element that is fetched: rows are made, gathered, and brought into order again."""

CACHED = 0.15
"""One element of the cache that each run copies."""

SMALLER = 1.25
"""By how much longer an element takes in a small patch than in a whole map."""


def of_node(node: NodeProto, shapes: Mapping[str, Shape]) -> float:
    """The time for one sample of whole maps."""
    read = operators.data_places(node.op_type, len(node.input))
    weighted = operators.standard_form(node.op_type) in operators.WEIGHTED
    data = [node.input[place] for place in (read[:1] if weighted else read) if node.input[place]]
    moved = sum(math.prod(shapes.get(name, ())) for name in (*data, *filter(None, node.output)))
    made = math.prod(shapes.get(node.output[0], ()))
    return _ELEMENT * moved + made * _products(node, shapes)


def _products(node: NodeProto, shapes: Mapping[str, Shape]) -> float:
    """The time of the products of one output element."""
    op = operators.standard_form(node.op_type)
    if op not in operators.WEIGHTED:
        return 0.0
    places = operators.data_places(node.op_type, len(node.input))
    data, weights = (shapes.get(node.input[place]) for place in places[:2])
    if not data or not weights:
        return 0.0
    if op in operators.CONVOLUTIONS:
        channels = data[1] // attributes(node).get("group", 1)
        each = _PRODUCT_OF_FEW if channels < _FEW else _PRODUCT
        return float(each * channels * math.prod(weights[2:]))
    return float(_PRODUCT * data[-1])
