"""Maps of models that take uint8 or float16, against those of the same model in float32."""

import numpy as np
import pytest
from explainer.formulas import OF_DETECTORS, OF_TRANSFORMERS
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.execution.arrays import nearest
from onnxplain.methods.registry import METHODS

SIZE = 12
PICTURE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
AS_IT_IS = {"size": SIZE, "fit": "stretch", "scale": 1, "mean": 0, "std": 1}
NO_METHODS_OF_THIS_MODEL = {*OF_TRANSFORMERS, *OF_DETECTORS, "expected_gradients"}
ROUNDED = {"rise": 1e-3, "scorecam": 1e-3, "sobol": 5e-3}
"""Tolerances of methods that blend pixels: the uint8 model gets the nearest integers."""

BODY = """
    n = Div(f, k)
    c = Conv<pads=[1,1,1,1]>(n, w)
    r = Relu(c)
    p = GlobalAveragePool(r)
    q = Flatten(p)
    y = MatMul(q, v)
"""
WEIGHTS = {
    "k": np.float32(255),
    "w": noise(4, 3, 3, 3),
    "v": noise(4, 5, seed=1),
    "scale": np.float32(0.5),
    "zero": np.uint8(3),
    "shift": np.float32(3),
}


def explainer(entrance, dtype="float", shape="N,3,12,12"):
    inputs = f"{dtype}[{shape}] x"
    return Explainer(tiny(entrance + BODY, inputs, **WEIGHTS), provider="cpu", preprocess=AS_IT_IS)


CAST = "f = Cast<to=1>(x)"
PAIRS = {
    "uint8": (explainer("f = Identity(x)"), explainer(CAST, "uint8")),
    "float16": (explainer("f = Identity(x)"), explainer(CAST, "float16")),
}


@pytest.mark.parametrize("dtype", PAIRS)
@pytest.mark.parametrize("method", sorted(METHODS.keys() - NO_METHODS_OF_THIS_MODEL))
def test_every_map_is_that_of_the_float_model(method, dtype):
    expected, found = (e.explain(PICTURE, method, 3).values for e in PAIRS[dtype])
    tolerance = ROUNDED.get(method, 1e-6)
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    assert np.abs(expected).max() > 0


TURNED = "1,12,12,3"
OTHER_ENTRANCES = {
    "transposed before the Cast": (
        ("t = Transpose<perm=[0,3,1,2]>(x) f = Cast<to=1>(t)", "uint8", TURNED),
        ("f = Transpose<perm=[0,3,1,2]>(x)", "float", TURNED),
    ),
    "dequantized": (
        ("f = DequantizeLinear(x, scale, zero)", "uint8"),
        ("s = Sub(x, shift) f = Mul(s, scale)", "float"),
    ),
}


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "smoothgrad", "lrp"])
@pytest.mark.parametrize("entrance", OTHER_ENTRANCES)
def test_the_input_is_followed_to_where_it_becomes_floats(entrance, method):
    found, expected = (
        explainer(*made).explain(PICTURE, method, 3).values for made in OTHER_ENTRANCES[entrance]
    )
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_points_are_rounded_where_a_node_computes_with_pixels():
    """ONNX Runtime would cut 254.9 to 254, and take 256 as 0."""

    values = np.array([-1, 0.4, 0.6, 254.9, 256], np.float32)
    np.testing.assert_array_equal(nearest(values, np.dtype(np.uint8)), [0, 0, 1, 255, 255])
