"""Nodes that are added before and after the graph of a method."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import DTypeLike
from onnx import GraphProto

from onnxplain.formulas.graph_namespace import GraphNamespace
from onnxplain.model.graph_index import all_names
from onnxplain.model.model import Model
from onnxplain.model.shapes import Dims
from onnxplain.tensors import TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder

INPUT = PREFIX + "file/input"
"""The tensor that the method's graph reads in place of its explained input."""

KNOWN = PREFIX + "file/known"
"""The tensor that tells whether the model has what each sample asks for, bool (N)."""


@dataclass(frozen=True, eq=False)
class Names:
    """The names of the inputs and outputs that a file may have beside those of the model."""

    picture: str
    target: str
    region: str
    values: str
    heatmap: str
    status: str
    explained: str
    overlay: str

    @classmethod
    def beside(cls, model: Model) -> Names:
        """Names that the model does not use: with `onnxplain_` before those that it uses."""
        taken = all_names(model.proto.graph)

        def free(name: str) -> str:
            return free(f"onnxplain_{name}") if name in taken else name

        return cls(*(free(one.name) for one in fields(cls)))


class Part:
    """Some nodes, and the outputs of the file among their tensors, in order."""

    def __init__(self, opset: int, name: str) -> None:
        """Begin without a node; `name` is a part of the names of all nodes."""
        self.graph = gs.Graph(opset=opset)
        self.g = Builder(self.graph, f"{PREFIX}file/{name}/")
        self.xp = GraphNamespace(self.g)
        self.outputs: dict[str, TensorSpec] = {}
        self._read: dict[str, gs.Tensor] = {}

    def read(self, name: str) -> gs.Tensor:
        """A tensor that is computed elsewhere; the same object for the same name."""
        return self._read.setdefault(name, gs.Variable(name))

    def name(self, tensor: gs.Tensor, name: str) -> None:
        """Give a tensor a name that is known elsewhere."""
        self.graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [self.read(name)]))

    def output(self, name: str, tensor: gs.Tensor, shape: Dims, dtype: DTypeLike) -> None:
        """Make a tensor an output of the file."""
        self.name(tensor, name)
        self.outputs[name] = TensorSpec(name, np.dtype(dtype), tuple(shape))

    def proto(self) -> GraphProto:
        """The nodes, with their constants."""
        graph: GraphProto = gs.export_onnx(self.graph, do_type_check=False).graph
        return graph
