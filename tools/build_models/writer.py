"""A small writer of ONNX graphs: a node and its output tensor share one readable name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Old enough for every runtime in use (ONNX Runtime since 1.7), new enough to be worth explaining.
OPSET = 13
IR_VERSION = 8

Shape = Sequence[int | str]


class GraphWriter:
    """Collects nodes and initializers in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        """Adds an initializer and returns its name."""
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op_type: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output; returns the output's name, which is the node's."""
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def conv(
        self,
        name: str,
        x: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        stride: int = 1,
        pads: Sequence[int] = (0, 0, 0, 0),
        group: int = 1,
    ) -> str:
        """Adds a convolution; `weight` is (out, in / group, height, width), `pads` as in ONNX."""
        return self.node(
            "Conv",
            name,
            x,
            self.constant(f"{name}.weight", weight),
            self.constant(f"{name}.bias", bias),
            kernel_shape=weight.shape[2:],
            strides=(stride, stride),
            pads=pads,
            group=group,
        )

    def model(
        self,
        name: str,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        *,
        doc: str,
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The finished model, checked, with float32 inputs and outputs."""
        graph = helper.make_graph(
            self.nodes,
            name,
            _float_infos(inputs),
            _float_infos(outputs),
            self.initializers,
            doc_string=doc,
        )
        model = helper.make_model(
            graph,
            producer_name="onnxplain",
            doc_string=doc,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model


def _float_infos(shapes: Mapping[str, Shape]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
