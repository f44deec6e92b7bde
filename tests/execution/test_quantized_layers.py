"""A layer of integers is explained as the floats that the integers represent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny import noise, run, tiny

from onnxplain import Explainer
from onnxplain.errors import LayerError

# The zero point is 110, so erasing a channel does not make its integers 0.
QUANTIZED = tiny(
    "a = Conv(x, k)  q = QuantizeLinear(a, step, zero)"
    "m = MaxPool<kernel_shape=[1,1]>(q)  d = DequantizeLinear(m, step, zero)"
    "p = GlobalAveragePool(d)  f = Flatten(p)  y = MatMul(f, w)",
    k=noise(4, 3, 3, 3),
    w=noise(4, 2),
    step=np.array(0.05, np.float32),
    zero=np.array(110, np.uint8),
)
X = noise(1, 3, 8, 8)
METHODS: dict[str, dict[str, Any]] = {
    "ablationcam": {},
    "reciprocam": {},
    "eigencam": {},
    "feature_maps": {},
    "scorecam": {"baseline": "zeros"},
    "layercam": {},
    "smooth_gradcam++": {"samples": 2},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_quantized_layer_is_explained_as_its_float_twin_is(method: str) -> None:
    explainer = Explainer(QUANTIZED, provider="cpu")
    integers, floats = (
        explainer.attribute(X, method, target=1, layer=layer, **METHODS[method]).values
        for layer in ("m", "d")
    )
    assert floats.any()
    np.testing.assert_allclose(integers, floats, atol=1e-5)


def test_integers_that_nothing_gives_a_meaning_cannot_be_changed() -> None:
    explainer = Explainer(QUANTIZED, provider="cpu")
    with pytest.raises(LayerError, match="'q' holds integers whose scale and zero point"):
        explainer.attribute(X, "ablationcam", target=1, layer="q")


@pytest.mark.parametrize("method", ["gradient", "gradcam", "eigencam"])
def test_class_and_score_are_those_of_the_deployed_model(method: str) -> None:
    """Although the differentiated model does not round in the same way."""
    nodes = """
        c = Conv<pads=[1,1,1,1]>(x, KERNEL)
        half = Cast<to=10>(c)
        r = Relu(half)
        p = GlobalAveragePool(r)
        f = Flatten(p)
        q = Cast<to=1>(f)
        small = QuantizeLinear(q, SCALE, ZERO)
        y = DequantizeLinear(small, SCALE, ZERO)
    """
    made = tiny(
        nodes,
        "float[N,2,5,5] x",
        "float[N,6] y",
        KERNEL=noise(6, 2, 3, 3),
        SCALE=np.float32(0.3),
        ZERO=np.uint8(0),
    )
    explainer, x = Explainer(made), noise(20, 2, 5, 5, seed=1)
    (answers,) = run(made, {"x": x})
    found = explainer.attribute(x, method)
    assert [target.index for target in found.targets] == answers.argmax(axis=1).tolist()
    np.testing.assert_array_equal(found.scores, answers.max(axis=1))
