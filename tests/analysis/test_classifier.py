"""The classifier after a global pool, in every form that exporters write."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import ModelProto
from tiny import noise, run, tiny

from onnxplain.analysis.classifier import Classifier, find_classifier
from onnxplain.analysis.score import find_score
from onnxplain.errors import LayerError
from onnxplain.model.load import load
from onnxplain.model.shapes import infer_shapes

W = np.array([[2, -1, 0], [0, 1, 1], [-1, 3, 2], [1, 0, -2]], np.float32)  # 4 classes, 3 channels
SHAPE = (1, 3, 8, 6)
INPUT = "float[N,3,8,6] x"

INT8 = W.astype(np.int8)
CONSTANTS = {
    "ROWS": W,
    "COLUMNS": W.T.copy(),
    "HALF": W / 2,
    "POINT": W[:, :, None, None],
    "WINDOW": noise(4, 3, 2, 2),
    "BIAS": np.array([1, 2, 3, 4], np.float32),
    "FLAT": np.array([0, -1]),
    "SPATIAL": np.array([2, 3]),
    "NEGATIVE": np.array([-1, -2]),
    "INTS": INT8,
    "INTCOLUMNS": INT8.T.copy(),
    "TWOBITS": INT8 + np.int8(3),
    "SCALES": np.ones(4, np.float32),
    "STEP": np.array(0.1, np.float32),
    "ONE": np.array(1, np.float32),
    "MIDDLE": np.array(100, np.uint8),
    "ZERO": np.array(0, np.int8),
    "THREE": np.array(3, np.int8),
    "EYE": np.eye(4, dtype=np.float32),
    "ALL": noise(4, 144),
    "PART": noise(4, 12),
    "ROWMEANS": noise(4, 24),
    "PLANE": noise(4, 48),
}

POOL = "p = GlobalAveragePool(r)  f = Flatten(p)"
GEMM = "y = Gemm<transB=1>({}, ROWS, BIAS)"
QUANTIZE = (
    "a = QuantizeLinear(r, STEP, MIDDLE)"
    "p = com.microsoft.QLinearGlobalAveragePool(a, STEP, MIDDLE, STEP, MIDDLE)  f = Flatten(p)"
)

# name: (nodes after the activation `r`; opset)
LINEAR = {
    "Gemm, rows": (POOL + GEMM.format("f"), 13),
    "Gemm, columns": (POOL + "y = Gemm(f, COLUMNS, BIAS)", 13),
    "Gemm with a factor": (POOL + "y = Gemm<transB=1, alpha=2.0>(f, HALF)", 13),
    "MatMul and Add": (POOL + "z = MatMul(f, COLUMNS)  y = Add(z, BIAS)", 13),
    "bias first": (POOL + "z = MatMul(f, COLUMNS)  y = Add(BIAS, z)", 13),
    "a transposed weight": (POOL + "w = Transpose<perm=[1,0]>(ROWS)  y = MatMul(f, w)", 13),
    "a 1x1 convolution": ("p = GlobalAveragePool(r)  c = Conv(p, POINT, BIAS)  y = Flatten(c)", 13),
    "mean, axes an attribute": ("p = ReduceMean<axes=[2,3], keepdims=0>(r)" + GEMM.format("p"), 13),
    "mean, axes from the end": (
        "p = ReduceMean<axes=[-1,-2]>(r)  f = Reshape(p, FLAT)" + GEMM.format("f"),
        13,
    ),
    "mean, axes an input": ("p = ReduceMean<keepdims=0>(r, NEGATIVE)" + GEMM.format("p"), 18),
    "mean, channels last": (
        "t = Transpose<perm=[0,2,3,1]>(r)  p = ReduceMean<axes=[1,2], keepdims=0>(t)"
        + GEMM.format("p"),
        13,
    ),
    "squeezed": (
        "p = GlobalAveragePool(r)  f = Squeeze(p, SPATIAL)" + GEMM.format("f"),
        13,
    ),
    "squeezed, axes an attribute": (
        "p = GlobalAveragePool(r)  f = Squeeze<axes=[2,3]>(p)" + GEMM.format("f"),
        11,
    ),
    "transposed between": (
        "p = GlobalAveragePool(r)  t = Transpose<perm=[0,2,3,1]>(p)  f = Reshape(t, FLAT)"
        + GEMM.format("f"),
        13,
    ),
    "a pool as large as the grid": (
        "p = AveragePool<kernel_shape=[8,6]>(r)  f = Flatten(p)" + GEMM.format("f"),
        13,
    ),
    "softmax behind": (POOL + "z = Gemm<transB=1>(f, ROWS, BIAS)  y = Softmax<axis=1>(z)", 13),
    "global max": ("p = GlobalMaxPool(r)  f = Flatten(p)" + GEMM.format("f"), 13),
    "max, axes an attribute": ("p = ReduceMax<axes=[2,3], keepdims=0>(r)" + GEMM.format("p"), 13),
    "dequantized weights": (
        POOL + "w = DequantizeLinear<axis=0>(INTS, SCALES)  y = Gemm<transB=1>(f, w, BIAS)",
        13,
    ),
    "dequantized, then transposed": (
        POOL + "w = DequantizeLinear(TWOBITS, ONE, THREE)  v = Transpose<perm=[1,0]>(w)"
        "y = MatMul(f, v)",
        19,
    ),
    "QGemm": (
        QUANTIZE + "q = com.microsoft.QGemm<transB=1>(f, STEP, MIDDLE, INTS, ONE, ZERO, , STEP,"
        " MIDDLE)  y = DequantizeLinear(q, STEP, MIDDLE)",
        13,
    ),
    "QLinearMatMul": (
        QUANTIZE + "q = QLinearMatMul(f, STEP, MIDDLE, INTCOLUMNS, ONE, ZERO, STEP, MIDDLE)"
        "y = DequantizeLinear(q, STEP, MIDDLE)",
        13,
    ),
}


def build(nodes: str, opset: int) -> ModelProto:
    read = set(re.findall(r"[A-Z]{3,}", nodes))
    constants = {name: value for name, value in CONSTANTS.items() if name in read}
    return tiny("r = Relu(x)" + nodes, INPUT, opset=opset, domains=["com.microsoft"], **constants)


def classifier(proto: ModelProto) -> Classifier:
    model = load(proto)
    shapes = infer_shapes(model.proto, {"x": SHAPE})
    return find_classifier(model, shapes, find_score(model).logit)


@pytest.mark.parametrize("name", LINEAR)
def test_weights(name: str) -> None:
    nodes, opset = LINEAR[name]
    proto = build(nodes, opset)
    run(proto, {"x": noise(*SHAPE)})  # ONNX Runtime loads it
    found = classifier(proto)
    assert found.weights is not None
    np.testing.assert_allclose(found.weights, W, atol=1e-6)
    (read_by_pool,) = re.findall(r"(?:Pool|ReduceMean|ReduceMax)[^(]*\((\w+)", nodes)
    assert found.layer == read_by_pool
    assert found.pooling == ("max" if "Max" in nodes else "average")


def test_pooled_channels_that_are_the_scores_themselves() -> None:
    found = classifier(build("c = Conv(r, POINT)  p = GlobalAveragePool(c)  y = Flatten(p)", 13))
    assert (found.layer, found.weights) == ("c", None)


REFUSED = {
    "two linear layers": (POOL + "z = Gemm<transB=1>(f, ROWS)  y = Gemm(z, EYE)", "second linear"),
    "something between": (POOL + "z = Tanh(f)" + GEMM.format("z"), "Tanh 'z'"),
    "no pool": ("f = Flatten(r)  y = Gemm<transB=1>(f, ALL)", "Relu 'r'"),
    "a convolution of windows": ("p = GlobalAveragePool(r)  c = Conv<pads=[1,1,0,0]>(p, WINDOW)"
                                 "y = Flatten(c)", "Conv 'c'"),
    "a sum of two": (POOL + "z = Gemm<transB=1>(f, ROWS)  v = Gemm<transB=1>(f, HALF)"
                     "y = Add(z, v)", "Add 'y'"),
    "a quantized sum": (POOL + "q = QuantizeLinear(f, STEP, MIDDLE)  v = com.microsoft.QLinearAdd("
                        "q, STEP, MIDDLE, q, STEP, MIDDLE, STEP, MIDDLE)"
                        "y = DequantizeLinear(v, STEP, MIDDLE)", "QLinearAdd 'v'"),
    "a pool of parts": ("p = AveragePool<kernel_shape=[4,3], strides=[4,3]>(r)  f = Flatten(p)"
                        "y = Gemm<transB=1>(f, PART)", "AveragePool 'p' covers only a part"),
    "a pool that leaves out a border": ("p = MaxPool<kernel_shape=[5,5], strides=[5,5]>(r)"
                                        "f = Flatten(p)" + GEMM.format("f"), "MaxPool 'p' covers"),
    "a padded pool": ("p = AveragePool<kernel_shape=[8,6], pads=[1,0,1,0], strides=[9,9]>(r)"
                      "f = Flatten(p)" + GEMM.format("f"), "AveragePool 'p' covers"),
    "a mean along rows": ("p = ReduceMean<axes=[3], keepdims=0>(r)  f = Flatten(p)"
                          "y = Gemm<transB=1>(f, ROWMEANS)",
                          "ReduceMean 'p' covers"),
    "a mean over channels": ("p = ReduceMean<axes=[1], keepdims=0>(r)  f = Flatten(p)"
                             "y = Gemm<transB=1>(f, PLANE)", "ReduceMean 'p' covers"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_with_the_method_to_use(name: str) -> None:
    nodes, found = REFUSED[name]
    with pytest.raises(LayerError, match=re.escape(found)):
        classifier(build(nodes, 13))
