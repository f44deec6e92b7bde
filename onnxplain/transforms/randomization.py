"""Models with the weights of some layers shuffled, which removes what they had learned."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, numpy_helper

from onnxplain.model.graph_index import reads
from onnxplain.model.model import Model
from onnxplain.model.operators import LAYERS, standard_form
from onnxplain.transforms.extract import with_contents

_FEWEST = 16
"""A weight with fewer elements is not shuffled: it is a scale, padding or similar."""

_WEIGHT_TYPES = frozenset(
    map(TensorProto.DataType.Value, "FLOAT FLOAT16 BFLOAT16 DOUBLE INT8 UINT8".split())
)


@dataclass(frozen=True)
class Weighted:
    """A layer with weights: the first node that reads them, and their names."""

    node: str
    weights: tuple[str, ...]


def weighted_layers(model: Model, source: str, score: str) -> list[Weighted]:
    """Layers between `source` and `score` with weights of rank 2 or more, from last to first.

    Which operators are layers is in `operators.LAYERS`.
    """
    graph_index = model.index
    kinds = {t.name for t in model.proto.graph.initializer if _is_weight(t)}
    # A weight may be dequantized or transposed before it is used.
    between = graph_index.descendants([source]) & graph_index.ancestors([score])
    layers = []
    taken: set[str] = set()
    for i in sorted(between):
        node = graph_index.nodes[i]
        if standard_form(node.op_type) not in LAYERS:
            continue
        before = graph_index.ancestors(reads(node)) - between
        own = {w for j in (i, *before) for w in reads(graph_index.nodes[j]) if w in kinds}
        fresh = tuple(sorted(own - taken))
        taken |= own
        if fresh:
            layers.append(Weighted(node.name or node.output[0], fresh))
    return layers[::-1]


def shuffled(model: Model, weights: Collection[str], seed: int) -> Model:
    """The model with the elements of each of these weights in a random order.

    So every weight keeps its distribution, and activations keep about their size. External weights
    among them are loaded into the model.
    """
    own = model.proto.graph.initializer
    mixed = [_shuffled(t, model, seed) if t.name in weights else t for t in own]
    return with_contents(model, initializer=mixed)


def _is_weight(tensor: TensorProto) -> bool:
    several = len(tensor.dims) >= 2 and math.prod(tensor.dims) >= _FEWEST
    return several and tensor.data_type in _WEIGHT_TYPES


def _shuffled(tensor: TensorProto, model: Model, seed: int) -> TensorProto:
    array = numpy_helper.to_array(tensor, str(model.folder or ""))
    own = np.random.default_rng([seed, *tensor.name.encode()])
    mixed = own.permutation(array.ravel()).reshape(array.shape)
    return numpy_helper.from_array(np.ascontiguousarray(mixed), tensor.name)
