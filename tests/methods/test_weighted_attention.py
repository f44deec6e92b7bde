"""generic_attention and transformer_attribution against float64 numpy, from their papers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references import chefer
from references.vit import BLOCKS, GRID, PICTURE, ViT
from scipy.special import softmax

from onnxplain import Explainer
from onnxplain.errors import TargetError

REFERENCES: dict[str, tuple[Callable[..., Any], float]] = {
    "generic_attention": (chefer.generic_attention, 1e-5),
    "transformer_attribution": (chefer.transformer_attribution, 2e-4),
}
"""With the allowed difference: relevance is divided by sums that may be nearly 0."""


def explainer_of(net: ViT, **form: bool) -> Explainer:
    return Explainer(net.onnx(**form), preprocess={"layout": "NCHW"}, provider="cpu")


@pytest.mark.parametrize("form", [{}, {"fused": True}, {"packed": True}], ids=str)
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("method", REFERENCES)
def test_the_formula(method: str, class_token: bool, form: dict[str, bool]) -> None:
    net, (reference, limit) = ViT(class_token), REFERENCES[method]
    explainer = explainer_of(net, **form)
    for blocks in range(1, BLOCKS + 1):
        expected = reference(net, PICTURE, 2, blocks)[int(class_token) :].reshape(GRID)
        assert np.ptp(expected) > 0.5 * expected.max()
        found = explainer.attribute(PICTURE, method, 2, blocks=blocks)
        assert_allclose(found.values[0], expected, atol=limit * expected.max())


def test_the_gradient_of_a_probability() -> None:
    net = ViT()
    expected = chefer.generic_attention(net, PICTURE, 2, link=softmax)[1:].reshape(GRID)
    found = explainer_of(net).attribute(PICTURE, "generic_attention", 2, score="probability")
    assert_allclose(found.values[0], expected, atol=1e-5 * expected.max())


def test_relevance_of_a_probability_is_refused() -> None:
    with pytest.raises(TargetError, match="explain a class"):
        explainer_of(ViT()).attribute(PICTURE, "transformer_attribution", 2, score="probability")


@pytest.mark.parametrize("method", REFERENCES)
def test_several_targets_share_a_pass(method: str) -> None:
    net, (reference, limit) = ViT(), REFERENCES[method]
    found = explainer_of(net).attribute(np.concatenate([PICTURE] * 2), method, [1, 3])
    for values, index in zip(found.values, (1, 3), strict=True):
        expected = reference(net, PICTURE, index)[1:].reshape(GRID)
        assert_allclose(values, expected, atol=limit * expected.max())


def test_two_backward_passes_for_each_target() -> None:
    explainer = Explainer("models/digit_vit.onnx", provider="cpu")
    found = explainer.explain("models/scenes/two.png", "transformer_attribution")
    assert found.diagnostics["forward_passes"] == 1
    assert found.diagnostics["backward_passes"] == 2
