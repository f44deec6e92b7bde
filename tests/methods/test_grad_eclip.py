"""grad_eclip against float64 numpy, from its paper."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references.eclip import grad_eclip
from references.vit import BLOCKS, CLASSES, GRID, PICTURE, ViT
from tiny import noise

from onnxplain import Explainer
from onnxplain.errors import LayerError
from onnxplain.targets import Similarity


def explainer_of(net: ViT, **form: bool) -> Explainer:
    return Explainer(net.onnx(**form), preprocess={"layout": "NCHW"}, provider="cpu")


@pytest.mark.parametrize("form", [{}, {"fused": True}, {"packed": True}], ids=str)
def test_the_formula(form: dict[str, bool]) -> None:
    net = ViT()
    explainer = explainer_of(net, **form)
    for blocks in range(1, BLOCKS + 1):
        expected = grad_eclip(net, PICTURE, lambda answers: answers[2], blocks).reshape(GRID)
        assert np.ptp(expected) > 0.5 * expected.max()
        found = explainer.attribute(PICTURE, "grad_eclip", 2, blocks=blocks)
        assert_allclose(found.values[0], expected, atol=1e-5 * expected.max())


def test_the_last_block_counts_by_default() -> None:
    explainer = explainer_of(ViT())
    found = explainer.attribute(PICTURE, "grad_eclip", 2).values
    assert_allclose(found, explainer.attribute(PICTURE, "grad_eclip", 2, blocks=1).values)


def test_the_similarity_of_an_image_encoder() -> None:
    other, net = noise(CLASSES, seed=4), ViT()

    def cosine(answers: np.ndarray) -> float:
        return float(answers @ other / np.linalg.norm(answers) / np.linalg.norm(other))

    expected = grad_eclip(net, PICTURE, cosine).reshape(GRID)
    found = explainer_of(net).attribute(PICTURE, "grad_eclip", Similarity(other))
    assert_allclose(found.values[0], expected, atol=1e-5 * expected.max())


def test_a_score_without_a_class_token_is_refused() -> None:
    with pytest.raises(LayerError, match=r"class token.*use generic_attention or legrad"):
        explainer_of(ViT(class_token=False)).attribute(PICTURE, "grad_eclip", 2)
