"""A formula written as nodes, and run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from tiny import Array, run

from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.transforms.builder import PREFIX, Builder

Given = Array | Sequence[Array]
"""The arguments of a formula: an array, or a list of arrays."""


def from_nodes(
    formula: Callable[..., Any], *given: Given, ranks: int = 1, opset: int = 18
) -> dict[str, Array]:
    """The results of nodes for float32 arrays, whose first axis is any batch, by name.

    `formula(xp, *given)` returns arrays by name.
    """
    graph = gs.Graph(opset=opset)
    g = Builder(graph)
    xp, feeds = GraphNamespace(g, ranks), dict[str, Array]()

    def entered(value: Array) -> GraphArray:
        name = f"given_{len(feeds)}"
        own = value.astype(np.float32) if value.dtype == np.float64 else value
        feeds[PREFIX + name] = own
        shape = [f"{name}_rows", *own.shape[1:]]
        return xp.array(g.input(name, shape, own.dtype), shape)

    arrays = [
        entered(v) if isinstance(v, np.ndarray) else [entered(one) for one in v] for v in given
    ]
    outputs: Mapping[str, GraphArray] = formula(xp, *arrays)
    for name, array in outputs.items():
        made = gs.Variable(name, np.dtype(np.float32))
        graph.nodes.append(gs.Node("Cast", name, {"to": 1}, [array.tensor], [made]))
        graph.outputs.append(made)
    found = run(gs.export_onnx(graph, do_type_check=False), feeds)
    return dict(zip(outputs, found, strict=True))


def wide(given: Given) -> Given:
    """The same floats as float64."""
    if not isinstance(given, np.ndarray):
        return [np.asarray(wide(one)) for one in given]
    return given.astype(np.float64) if given.dtype == np.float32 else given
