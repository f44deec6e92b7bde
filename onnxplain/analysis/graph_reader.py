"""What the graph of a model says about the pictures that it takes."""

from __future__ import annotations

from onnxplain.analysis.first_steps import first_steps
from onnxplain.analysis.size_multiple import size_multiple
from onnxplain.images.graph_values import GraphReader
from onnxplain.model.model import Model
from onnxplain.tensors import TensorSpec


def graph_reader(model: Model, spec: TensorSpec) -> GraphReader:
    """A reader of the graph for pictures as the input `spec`; nothing is read before it is asked.

    Layouts are "NCHW" or "NHWC".
    """
    return GraphReader(
        lambda layout, channels: first_steps(model, spec.name, layout.index("C"), channels),
        lambda layout: size_multiple(model, spec, layout.index("H"), layout.index("W")),
    )
