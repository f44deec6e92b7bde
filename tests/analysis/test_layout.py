"""What the operators that read an input say about its axes."""

from __future__ import annotations

import pytest
from tiny import noise, tiny

from onnxplain.analysis.layout import input_axes
from onnxplain.model.load import load

TURNED = "t = Transpose<perm=[0,2,1]>(x)"
ATTENTION = "s = MatMul(x, t)  p = Softmax(s)  y = MatMul(p, x)"

# name: (nodes, the dimensions of the input, its axes)
INPUTS = {
    "a signal": ("y = Conv(x, K)", "N,4,6", "NCW"),
    "a signal behind a scale": ("s = Mul(x, ONE)  y = Conv(s, K)", "N,4,6", "NCW"),
    "channels last": (TURNED + "y = Conv(t, K)", "N,6,4", "NWC"),
    "channels last behind a scale": (
        "s = Mul(x, ONE)  t = Transpose<perm=[0,2,1]>(s)  a = Relu(t)  y = Conv(a, K)",
        "N,6,4",
        "NWC",
    ),
    "tokens that attend to each other": (TURNED + ATTENTION, "N,6,4", ""),
    "tokens, and a convolution along them": (
        "y = Conv(t, K)" + TURNED + ATTENTION.replace("y =", "z ="),
        "N,6,4",
        "NWC",
    ),
    "nothing but a product": ("y = MatMul(x, ONE)", "N,6,4", ""),
    "a picture": ("y = Relu(x)", "N,3,8,8", "NCHW"),
    "a picture with channels last": (
        'c = Transpose<perm=[0,3,1,2]>(x)  y = Resize<mode="linear">(c, NONE, TWICE)',
        "N,8,8,3",
        "NHWC",
    ),
    "a volume with channels last": (
        "c = Transpose<perm=[0,4,1,2,3]>(x)  y = GlobalAveragePool(c)",
        "N,8,8,8,3",
        "NDHWC",
    ),
    "a row of features": ("y = Relu(x)", "N,7", ""),
}


@pytest.mark.parametrize("name", INPUTS)
def test_axes_of_an_input(name: str) -> None:
    nodes, dims, axes = INPUTS[name]
    constants = {"K": noise(2, 4, 1), "ONE": noise(4, 4), "NONE": noise(0), "TWICE": noise(4)}
    used = {key: value for key, value in constants.items() if key in nodes}
    proto = tiny(nodes, f"float[{dims}] x", "float y", **used)
    assert input_axes(load(proto), "x", dims.count(",") + 1) == axes
