"""Nodes whose attributes do not fit the ranks of their inputs have no gradient, and say so."""

import pytest
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.images.preprocess import Preprocess

AS_IT_IS = Preprocess(size=(8, 8), interpolation="nearest")


@pytest.mark.parametrize(
    "node", ["Conv<pads = [1]>(x, w)", "MaxPool<kernel_shape = [2, 2], pads = [1, 1, 1]>(x)"]
)
def test_it_has_no_gradient(node: str) -> None:
    model = tiny(f"c = {node}  p = GlobalAveragePool(c)  y = Flatten(p)", w=noise(2, 3, 3, 3))
    explainer = Explainer(model, preprocess=AS_IT_IS)
    (obstacle,) = explainer.differentiability().missing
    assert obstacle.node == "c"
    assert "do not fit it" in obstacle.reason
    assert explainer.default_method()[0] == "occlusion"
