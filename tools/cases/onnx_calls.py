"""Makes the callables that the references take, from an ONNX model with onnx and onnxruntime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx.utils import Extractor
from scipy.special import softmax

Float32 = NDArray[np.float32]
Call = Callable[[Float32], Float32]


def load(model: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """The model with its shapes inferred, which is needed to extract a part of it."""
    proto = model if isinstance(model, onnx.ModelProto) else onnx.load(Path(model))
    return onnx.shape_inference.infer_shapes(proto)


def part(model: str | Path | onnx.ModelProto, tensor_in: str, tensor_out: str) -> Call:
    """Run the graph between two tensors on the CPU, in one thread.

    `part(model, input, layer)` gives activations, `part(model, layer, output)` is a head, and
    `part(model, input, output)` the whole model. Only models with one input fit.
    """
    proto = load(model)
    piece = Extractor(proto).extract_model([tensor_in], [tensor_out])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        piece.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def call(value: Float32) -> Float32:
        return np.asarray(session.run([tensor_out], {tensor_in: value})[0], np.float32)

    return call


def element(call: Call, index: int) -> Callable[[Float32], float]:
    """Score = output element `index` of the one sample in the batch."""
    return lambda value: float(call(value)[0, index])


def probability(call: Call, index: int) -> Callable[[Float32], float]:
    """Score = softmax of the output, element `index`, for a model that ends in logits."""
    return lambda value: float(softmax(call(value)[0].astype(np.float64))[index])
