"""Methods for transformers against float64 numpy, from their papers' formulas."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references.vit import BLOCKS, GRID, PICTURE, ViT, legrad, rollout
from scipy.special import softmax
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import LayerError, OptionError

FORMS = [(True, False), (False, False), (True, True)]


def explained(net: ViT, method: str, *, fused: bool = False, **options: Any) -> Any:
    explainer = Explainer(net.onnx(fused=fused), preprocess={"layout": "NCHW"}, provider="cpu")
    return explainer.attribute(PICTURE, method, 2, **options).values[0]


def on_grid(net: ViT, row: Any) -> Any:
    return row[int(net.class_token) :].reshape(GRID)


@pytest.mark.parametrize(("class_token", "fused"), FORMS)
def test_attention_rollout(class_token: bool, fused: bool) -> None:
    net = ViT(class_token)
    matrices = [net.attention(z, block) for block, z in enumerate(net.states(PICTURE)[:-1])]
    flow = rollout(matrices)
    expected = on_grid(net, flow[0] if class_token else flow.mean(axis=0))
    assert_allclose(explained(net, "attention_rollout", fused=fused), expected, rtol=1e-5)


@pytest.mark.parametrize(("class_token", "fused"), FORMS)
@pytest.mark.parametrize("blocks", [1, BLOCKS])
def test_legrad(class_token: bool, fused: bool, blocks: int) -> None:
    net = ViT(class_token)
    expected = on_grid(net, legrad(net, PICTURE, 2, blocks))
    assert np.ptp(expected) > 0.05 * expected.max()
    found = explained(net, "legrad", fused=fused, blocks=blocks)
    assert_allclose(found, expected, atol=1e-4 * expected.max())


def test_legrad_of_a_probability_takes_each_blocks_own() -> None:
    net = ViT()
    expected = on_grid(net, legrad(net, PICTURE, 2, link=softmax))
    found = explained(net, "legrad", score="probability")
    assert_allclose(found, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("neighbours", [True, False])
def test_vit_reciprocam(class_token: bool, neighbours: bool) -> None:
    net = ViT(class_token)
    z = net.states(PICTURE)[BLOCKS - 1]
    gauss = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    expected = np.zeros(GRID)
    for row, column in np.ndindex(*GRID):
        kept = np.zeros((GRID[0] + 2, GRID[1] + 2))
        if neighbours:
            kept[row : row + 3, column : column + 3] = gauss
        else:
            kept[row + 1, column + 1] = 1
        weights = np.r_[[1.0] * class_token, kept[1:-1, 1:-1].ravel()]
        alone = z * weights[:, None]
        after = net.after(alone, BLOCKS - 1, net.attention(alone, BLOCKS - 1))
        expected[row, column] = softmax(net.head(after))[2]
    layer = f"z{BLOCKS - 1}"
    found = explained(net, "vit_reciprocam", layer=layer, neighbours=neighbours)
    assert_allclose(found, expected, rtol=1e-4)


def test_vit_reciprocam_looks_before_the_last_attention_by_default() -> None:
    net = ViT()
    found = explained(net, "vit_reciprocam")
    assert_allclose(found, explained(net, "vit_reciprocam", layer=f"z{BLOCKS - 1}"))


def convolutional() -> Explainer:
    body = "c = Conv <pads = [1, 1, 1, 1]> (x, w) p = GlobalAveragePool (c) y = Flatten (p)"
    return Explainer(tiny(body, w=noise(4, 3, 3, 3)), provider="cpu")


def windows() -> Explainer:
    """Attention within each row only."""
    body = """
      t = Transpose <perm = [0, 2, 3, 1]> (x) k = Transpose <perm = [0, 2, 1, 3]> (x)
      q = Transpose <perm = [0, 2, 3, 1]> (x) s = MatMul (q, k) w = Softmax <axis = -1> (s)
      o = MatMul (w, t) b = Transpose <perm = [0, 3, 1, 2]> (o)
      p = GlobalAveragePool (b) y = Flatten (p)
    """
    return Explainer(tiny(body, "float[1,3,8,8] x", "float[1,3] y"), provider="cpu")


@pytest.mark.parametrize("method", ["attention_rollout", "legrad"])
def test_what_is_no_plain_transformer_is_refused_with_what_fits(method: str) -> None:
    with pytest.raises(LayerError, match=r"No attention matrix.*gradcam"):
        convolutional().attribute(noise(1, 3, 8, 8), method, 0)
    with pytest.raises(LayerError, match=r"windows.*gradcam"):
        windows().attribute(noise(1, 3, 8, 8), method, 0)


def test_reciprocam_and_vit_reciprocam_name_each_other() -> None:
    with pytest.raises(LayerError, match="use reciprocam"):
        convolutional().attribute(noise(1, 3, 8, 8), "vit_reciprocam", 0)
    with pytest.raises(LayerError, match="use vit_reciprocam"):
        explained(ViT(), "reciprocam")


@pytest.mark.parametrize("blocks", [0, BLOCKS + 1])
def test_no_more_blocks_than_there_are(blocks: int) -> None:
    with pytest.raises(OptionError, match=f"blocks from 1 to {BLOCKS}"):
        explained(ViT(), "legrad", blocks=blocks)
