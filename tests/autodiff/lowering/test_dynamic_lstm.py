"""ONNX Runtime's dynamically quantized LSTM, against an LSTM with the same weights as floats."""

import numpy as np
import pytest
from tiny import noise, run, tiny

from onnxplain import Explainer
from onnxplain.autodiff.lowering import lower
from onnxplain.model.load import load

SIZE, WIDTH, STEPS = 4, 3, 5
LSTM = """
    t = Transpose<perm=[1,0,2]>(x)
    h = {} <hidden_size=4, direction="{}"> (t, w, r, b{})
    u = Transpose<perm=[2,0,1,3]>(h)
    y = Flatten(u)
"""
QUANTIZED = ", , , , , w_scale, w_zero, r_scale, r_zero"


def models(direction, by_channel, dtype):
    """The quantized model, and the same in floats."""
    ways = 2 if direction == "bidirectional" else 1
    rng = np.random.default_rng(0)
    scales = (ways, 4 * SIZE) if by_channel else (ways,)
    low, high, zero = (-64, 64, 0) if dtype == "int8" else (0, 127, 60)
    integers, floats = {"b": noise(ways, 8 * SIZE)}, {"b": noise(ways, 8 * SIZE)}
    for name, rows in (("w", WIDTH), ("r", SIZE)):
        whole = rng.integers(low, high, (ways, rows, 4 * SIZE)).astype(dtype)
        scale = rng.uniform(0.01, 0.02, scales).astype(np.float32)
        zeros = np.full(scales, zero, dtype)
        integers |= {name: whole, f"{name}_scale": scale, f"{name}_zero": zeros}
        real = (whole.astype(np.float32) - zero) * scale.reshape(ways, 1, -1)
        floats[name] = real.transpose(0, 2, 1)
    inputs = f"float[N,{STEPS},{WIDTH}] x"
    body = LSTM.format("com.microsoft.DynamicQuantizeLSTM", direction, QUANTIZED)
    quantized = tiny(body, inputs, domains=["com.microsoft"], **integers)
    return quantized, tiny(LSTM.format("LSTM", direction, ""), inputs, **floats)


CASES = [("forward", False, "int8"), ("reverse", True, "int8"), ("bidirectional", False, "uint8")]


@pytest.mark.parametrize(("direction", "by_channel", "dtype"), CASES)
def test_it_is_an_lstm_with_the_weights_as_floats(direction, by_channel, dtype):
    quantized, floats = models(direction, by_channel, dtype)
    x = noise(1, STEPS, WIDTH)
    (own,), (expected,) = (run(model, {"x": x}) for model in (quantized, floats))
    assert np.abs(own - expected).max() < 0.05 * np.abs(expected).max()  # its own rounding
    lowered = lower(load(quantized))
    np.testing.assert_allclose(run(lowered.proto, {"x": x})[0], expected, atol=1e-6)
    gradients = (
        Explainer(model, provider="cpu").attribute(x, "gradient", 3).values
        for model in (quantized, floats)
    )
    np.testing.assert_allclose(*gradients, atol=1e-6)
