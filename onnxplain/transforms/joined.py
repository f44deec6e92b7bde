"""A graph transform: join several tensors into one, for a target that reads several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.errors import TargetError
from onnxplain.model.constants import quantization
from onnxplain.model.model import Model
from onnxplain.suggestions import closest
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended

JOINED = PREFIX + "joined"
"""The tensor that `with_joined` adds."""


def with_joined(model: Model, tensors: Sequence[str]) -> Model:
    """The model with a tensor `JOINED`: the elements of `tensors`, (N, elements), float32.

    Quantized tensors are dequantized. The outputs stay as they are.

    Raises:
        TargetError: the model has no such tensor.
    """
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, JOINED + "/")
    rows = [_row(g, model, tensor) for tensor in tensors]
    graph.nodes.append(gs.Node("Concat", JOINED, {"axis": 1}, rows, [gs.Variable(JOINED)]))
    return appended(model, gs.export_onnx(graph, do_type_check=False).graph)


def _row(g: Builder, model: Model, tensor: str) -> gs.Tensor:
    if tensor not in model.index.position:
        close = closest(tensor, [*model.index.outputs, *model.index.tensors()])
        raise TargetError(
            f"The target reads {tensor!r}, and the model has no such output or inner tensor{close}."
        )
    real = g.Cast(gs.Variable(tensor), to=TensorProto.FLOAT)
    quantized = quantization(model, tensor)
    if quantized is not None:
        real = g.Mul(g.Sub(real, np.float32(quantized.zero)), np.float32(quantized.scale))
    return g.Flatten(real, axis=1)
