"""Models with the input `picture` alone."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
from tiny import Array

from onnxplain.exporting.picture_input import PICTURE, PictureInput, picture_input
from onnxplain.images.preprocess import Preprocess
from onnxplain.transforms.builder import Builder

Parts = Callable[[Builder, PictureInput], Mapping[str, tuple[gs.Tensor, type]]]
"""Adds nodes, and returns outputs by name, with their types."""


def picture_graph(
    preprocess: Preprocess, parts: Parts | None = None, dtype: type = np.float32
) -> gs.Graph:
    """A graph with the input `picture`, and the outputs of `parts`, or the model's input `x`."""
    graph = gs.Graph(opset=18)
    g = Builder(graph)
    made = picture_input(g, preprocess)
    outputs = parts(g, made) if parts else {"x": (made.tensor, dtype)}
    for name, (tensor, kind) in outputs.items():
        output = gs.Variable(name, np.dtype(kind))
        graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [output]))
        graph.outputs.append(output)
    return graph


def session(graph: gs.Graph, *, optimized: bool = True) -> ort.InferenceSession:
    """A session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = gs.export_onnx(graph, do_type_check=False).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def ran(session: ort.InferenceSession, picture: Array) -> dict[str, Array]:
    """The outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {PICTURE: picture}), strict=True))
