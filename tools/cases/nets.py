"""Tiny ONNX models, and the map of each method for them, computed by hand.

Net T: x (N, 1, 4, 4) -> Conv 1 -> 2, 3 x 3 of ones, bias (-50, -75) -> Relu -> Reshape (N, 8)
-> linear to 4, every row (1, 1, 1, 1, 1, -1, -1, -1), no bias -> Relu.

For x = 0 ... 15 the four 3 x 3 sums are 45, 54, 81, 90, so

    at `conv`   Z1 = (-5, 4, 31, 40)     Z2 = (-30, -21, 6, 15)
    at `relu`   A1 = ( 0, 4, 31, 40)     A2 = (  0,   0, 6, 15)

and T = relu((0 + 4 + 31 + 40) + (0 - 0 - 6 - 15)) = 75 - 21 = 54 in each of the four outputs.
Maps below list the 2 x 2 cells row by row; x and its maps are 4 x 4.

Net P: x (N, 2, 2, 2) -> Relu -> global average or max pooling -> Flatten -> Gemm to 3 logits.

Net R: x (N, 3, 20, 26) -> two strided convolutions with random weights and Relu -> global average
pooling -> 5 logits. It has no maps by hand: it is small enough to compare whole maps of two
implementations, and neither its picture nor its grid (8, 5, 7) is square.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

NET_T_INPUT = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
NET_T_SCORE = 54.0
NET_T_ACTIVATIONS: Mapping[str, NDArray[np.float64]] = {
    "conv": np.array([[[-5.0, 4], [31, 40]], [[-30, -21], [6, 15]]]),
    "relu": np.array([[[0.0, 4], [31, 40]], [[0, 0], [6, 15]]]),
}

# Without channel 1 the sum is -21 and the last Relu makes it 0: w_1 = (54 - 0) / 54 = 1. Without
# channel 2 it is 75: w_2 = (54 - 75) / 54 = -7/18. The map is A1 - 7/18 A2: at `conv` it is
# -5 + 210/18 = 20/3, 4 + 147/18 = 73/6, 31 - 42/18 = 86/3, 40 - 105/18 = 205/6; at `relu` the first
# two are 0 and 4.
NET_T_ABLATION_WEIGHTS = np.array([1.0, -7 / 18])
NET_T_ABLATIONCAM = {
    "conv": np.array([[20 / 3, 73 / 6], [86 / 3, 205 / 6]]),
    "relu": np.array([[0.0, 4], [86 / 3, 205 / 6]]),
}

# One cell alone: A1 + A2 in the first cell, A1 - A2 in the others; -5, -30 and -21 are rectified,
# so both layers give the same map.
NET_T_RECIPROCAM = np.array([[0.0, 4], [25, 25]])
# The cell's vector through the Gaussian (1/4 center, 1/8 side, 1/16 corner, cut off at the border):
# A1 is counted with 1/4 + 1/8 + 1/8 + 1/16 = 9/16 in every cell; A2 with -5/16 from cell 3
# (-1/4 own, +1/8 above, -1/8 next to it, -1/16 diagonal) and -7/16 from cell 4 (-1/4, -1/8, -1/8,
# +1/16). So 4 * 9/16, (31 * 9 - 6 * 5) / 16, (40 * 9 - 15 * 7) / 16.
NET_T_RECIPROCAM_SPREAD = np.array([[0.0, 2.25], [249 / 16, 255 / 16]])
# The Gaussian over the activation: with s = A1 - A2 = (0, 4, 25, 25), each result is 1/4 of the
# cell + 1/8 of its two sides + 1/16 of its diagonal: (4 * 0 + 2 * 4 + 2 * 25 + 25) / 16, and so on.
NET_T_RECIPROCAM_WINDOW = np.array([[83 / 16, 91 / 16], [154 / 16, 158 / 16]])

# The 2 x 2 second moments of (A1, A2) at `relu` are 2577, 786; 786, 261. Their first eigenvector is
# (cos t, sin t) with tan 2t = 2 * 786 / (2577 - 261) = 131/193. Less the means (18.75, 5.25) they
# are 1170.75, 392.25; 392.25, 150.75, and tan 2t = 784.5/1020 = 523/680.
_T, _T_CENTERED = np.arctan2(131, 193) / 2, np.arctan2(523, 680) / 2
_A1, _A2 = NET_T_ACTIVATIONS["relu"]
NET_T_EIGENCAM = _A1 * np.cos(_T) + _A2 * np.sin(_T)
NET_T_EIGENCAM_CENTERED = (_A1 - 18.75) * np.cos(_T_CENTERED) + (_A2 - 5.25) * np.sin(_T_CENTERED)

# The four outputs are always equal, so the softmax of each is 1/4 whatever is masked: every
# increase is 0, both weights are 1/2, and the map is ReLU((A1 + A2) / 2).
NET_T_SCORECAM_PROBABILITY = {
    "conv": np.array([[0.0, 0], [18.5, 27.5]]),
    "relu": np.array([[0.0, 2], [18.5, 27.5]]),
}

# Occlusion with 0. The four 3 x 3 sums are (W1, W2, W3, W4) = (45, 54, 81, 90), and T is
# sum relu(W - 50) + relu(W1 - 75) - relu(W2 - 75) - relu(W3 - 75) - relu(W4 - 75).
# Window 2, stride 2: four quarters hidden, one at a time.
#   top left     35 48 72 85   T = 22 + 35 - 10 = 47      54 - 47 =  7
#   top right    37 36 75 77   T = 25 + 27 - 0 - 2 = 50             4
#   bottom left  28 45 39 68   T = 18                              36
#   bottom right 35 33 57 40   T = 7                               47
NET_T_OCCLUSION_2_2 = np.kron(np.array([[7.0, 4], [36, 47]]), np.ones((2, 2)))
# Window 3, stride 2: starts at 0 and 2, the second window clipped to two rows or columns.
#   top left      0 21 39 60   T = 10                     54 - 10 = 44
#   top right    27 15 65 56   T = 15 + 6 = 21                      33
#   bottom left  18 35 15 44   T = 0                                54
#   bottom right 35 33 57 40   T = 7                                47
# Row 2 and column 2 lie in two windows each: the means of 44 and 33, 44 and 54, of all four, ...
NET_T_OCCLUSION_3_2 = np.array(
    [
        [44, 44, 38.5, 33],
        [44, 44, 38.5, 33],
        [49, 49, 44.5, 40],
        [54, 54, 50.5, 47],
    ]
)

NET_P_INPUT = np.array([[[[1, 2], [3, 4]], [[4, -1], [-3, 2]]]], dtype=np.float32)
NET_P_WEIGHTS = np.array([[2, -1], [0, 1], [-1, 3]], dtype=np.float32)
NET_P_BIAS = np.array([0.5, 0, -1], dtype=np.float32)
# After Relu the channels are (1, 2, 3, 4) and (4, 0, 0, 2): means 2.5 and 1.5, maxima 4 and 4.
NET_P_LOGITS = {
    "GlobalAveragePool": np.array([4.0, 1.5, 1]),
    "GlobalMaxPool": np.array([4.5, 4, 7]),
}
# Rows 2 A1 - A2, A2, 3 A2 - A1; the same under both poolings.
NET_P_CAM = np.array([[[-2.0, 4], [6, 6]], [[4, 0], [0, 2]], [[11, -2], [-3, 2]]])


def net_t(opset: int = 13) -> onnx.ModelProto:
    """Net T: tensors `x`, `conv`, `relu`, `flat`, `linear`, `y`, each node named as its output."""
    row = np.array([1, 1, 1, 1, 1, -1, -1, -1], np.float32)
    nodes = [
        ("Conv", ["x", "kernel", "bias"], "conv"),
        ("Relu", ["conv"], "relu"),
        ("Reshape", ["relu", "flat_shape"], "flat"),
        ("MatMul", ["flat", "rows"], "linear"),
        ("Relu", ["linear"], "y"),
    ]
    initializers: dict[str, NDArray[Any]] = {
        "kernel": np.ones((2, 1, 3, 3), np.float32),
        "bias": np.array([-50, -75], np.float32),
        "flat_shape": np.array([-1, 8], np.int64),
        "rows": np.tile(row[:, None], (1, 4)),
    }
    return _model(
        "net_t", nodes, initializers, input_shape=["N", 1, 4, 4], output_shape=["N", 4], opset=opset
    )


def net_p(pooling: str = "GlobalAveragePool", opset: int = 13) -> onnx.ModelProto:
    """Net P: tensors `x`, `relu`, `pooled`, `flat`, `y`, each node named as its output."""
    nodes = [
        ("Relu", ["x"], "relu"),
        (pooling, ["relu"], "pooled"),
        ("Flatten", ["pooled"], "flat"),
        ("Gemm", ["flat", "weights", "bias"], "y", {"transB": 1}),
    ]
    initializers = {"weights": NET_P_WEIGHTS, "bias": NET_P_BIAS}
    return _model(
        "net_p", nodes, initializers, input_shape=["N", 2, 2, 2], output_shape=["N", 3], opset=opset
    )


def net_r(opset: int = 13) -> onnx.ModelProto:
    """Net R: tensors `x`, `conv1`, `relu1`, `conv2` (signed), `relu2`, `pooled`, `flat`, `y`."""
    rng = np.random.default_rng(0)

    def weights(*shape: int, gain: float) -> NDArray[np.float32]:
        return (gain * rng.normal(size=shape)).astype(np.float32)

    stride = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        ("Conv", ["x", "kernel1", "bias1"], "conv1", stride),
        ("Relu", ["conv1"], "relu1"),
        ("Conv", ["relu1", "kernel2", "bias2"], "conv2", stride),
        ("Relu", ["conv2"], "relu2"),
        ("GlobalAveragePool", ["relu2"], "pooled"),
        ("Flatten", ["pooled"], "flat"),
        ("Gemm", ["flat", "rows", "bias3"], "y", {"transB": 1}),
    ]
    initializers = {
        "kernel1": weights(6, 3, 3, 3, gain=0.3),
        "bias1": weights(6, gain=0.1),
        "kernel2": weights(8, 6, 3, 3, gain=0.3),
        "bias2": weights(8, gain=0.1),
        "rows": weights(5, 8, gain=2.0),
        "bias3": weights(5, gain=0.1),
    }
    shapes: dict[str, list[int | str]] = {
        "input_shape": ["N", 3, 20, 26],
        "output_shape": ["N", 5],
    }
    return _model("net_r", nodes, initializers, **shapes, opset=opset)


def _model(
    name: str,
    nodes: list[Any],
    initializers: Mapping[str, NDArray[Any]],
    *,
    input_shape: list[int | str],
    output_shape: list[int | str],
    opset: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node(op, inputs, [output], name=output, **(rest[0] if rest else {}))
            for op, inputs, output, *rest in nodes
        ],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, key) for key, value in initializers.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name=name
    )
    onnx.checker.check_model(model, full_check=True)
    return model
