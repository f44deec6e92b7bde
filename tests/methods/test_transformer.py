"""Methods for transformers against float64 numpy, from their papers' formulas."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references.vit import BLOCKS, GRID, PICTURE, ViT, legrad, rollout
from scipy.special import softmax
from tiny import noise, run, tiny

from onnxplain import Explainer
from onnxplain.errors import LayerError, OptionError
from onnxplain.transforms.extract import with_outputs

FORMS = [(True, False), (False, False), (True, True)]
EVERYWHERE = ("attention_rollout", "legrad", "generic_attention", "transformer_attribution")
"""Methods that explain all transformers whose attention is followed."""
READ_ATTENTION = (*EVERYWHERE, "grad_eclip")


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


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_legrad_of_several_targets_takes_one_pass(score: str) -> None:
    net, classes = ViT(), [1, 3]
    explainer = Explainer(net.onnx(), preprocess={"layout": "NCHW", "size": (8, 12)})
    picture = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    x, _ = explainer.preprocess.apply(picture)
    link = {"link": softmax} if score == "probability" else {}
    explainer.explain(picture, "legrad", 0, score=score)  # the graph is checked once
    before = explainer.session_runs
    found = explainer.explain_each(picture, "legrad", classes, score=score)
    assert explainer.session_runs - before == 1
    assert found[0].diagnostics["forward_passes"] == explainer.session_runs - before
    for one, index in zip(found, classes, strict=True):
        expected = on_grid(net, legrad(net, x, index, **link))
        assert_allclose(one.values, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("neighbors", [True, False])
def test_vit_reciprocam(class_token: bool, neighbors: bool) -> None:
    net = ViT(class_token)
    z = net.states(PICTURE)[BLOCKS - 1]
    gauss = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    expected = np.zeros(GRID)
    for row, column in np.ndindex(*GRID):
        kept = np.zeros((GRID[0] + 2, GRID[1] + 2))
        if neighbors:
            kept[row : row + 3, column : column + 3] = gauss
        else:
            kept[row + 1, column + 1] = 1
        weights = np.r_[[1.0] * class_token, kept[1:-1, 1:-1].ravel()]
        alone = z * weights[:, None]
        after = net.after(alone, BLOCKS - 1, net.attention(alone, BLOCKS - 1))
        expected[row, column] = softmax(net.head(after))[2]
    layer = f"z{BLOCKS - 1}"
    found = explained(net, "vit_reciprocam", layer=layer, neighbors=neighbors)
    assert_allclose(found, expected, rtol=1e-4)


def test_vit_reciprocam_looks_at_what_the_last_attention_reads_by_default() -> None:
    net = ViT()
    found = explained(net, "vit_reciprocam")
    assert_allclose(found, explained(net, "vit_reciprocam", layer=f"n{BLOCKS - 1}"))


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


# Patches of 2 x 2, sixteen tokens n (1, 16, 4), and an attention of two heads over them: w.
PATCHES = (
    "a = Conv<strides=[2,2]>(x, PATCH)  r = Reshape(a, ROW)  n = Transpose<perm=[0,2,1]>(r)"
    "h = Reshape(n, HEADS)  q = Transpose<perm=[0,2,1,3]>(h)  k = Transpose<perm=[0,2,3,1]>(h)"
    "s = MatMul(q, k)  w = Softmax<axis=-1>(s)"
)
ANSWER = "o = MatMul({}, q)  u = Transpose<perm=[0,2,1,3]>(o)  z = Reshape(u, BACK)  t = Add(n, z)"
SUMMED = ANSWER.format("w").replace("MatMul", 'Einsum<equation="bhij, bhjd -> bhid">')
MEAN = "m = ReduceMean<axes=[1], keepdims=0>({})  y = MatMul(m, CLASSES)"
# A query that is not part of the picture attends to all, as in a class-attention or pooling layer.
ASKED = (
    "kt = Transpose<perm=[0,2,1]>(t)  ps = MatMul(PROBE, kt)  p = Softmax<axis=-1>(ps)"
    "c = MatMul(p, t)"
)
TALKING = (
    "wt = Transpose<perm=[0,2,3,1]>(w)  wm = MatMul(wt, TALK)  wb = Add(wm, BIAS)"
    "ww = Transpose<perm=[0,3,1,2]>(wb)"
)
NOT_FOLLOWED = {
    "talking heads": (PATCHES + TALKING + ANSWER.format("ww") + MEAN.format("t"), "heads.*talk"),
    "heads mixed by a convolution": (
        PATCHES + "ww = Conv(w, MIX)" + ANSWER.format("ww") + MEAN.format("t"),
        "heads.*talk",
    ),
    "pooled keys": (
        PATCHES.replace(
            "k = Transpose<perm=[0,2,3,1]>(h)", "k = Transpose<perm=[0,2,3,1]>(j)"
        ).replace("q = T", "j = Slice(h, ZERO, END, ONE, STEP)  q = T")
        + "v = Transpose<perm=[0,2,1,3]>(j)"
        + ANSWER.format("w").replace("w, q", "w, v")
        + MEAN.format("t"),
        "16 queries and 4 keys",
    ),
    "windows": (
        PATCHES.replace("HEADS", "WINDOWS") + ANSWER.format("w") + MEAN.format("t"),
        "within windows.*4, 2, 4, 4",
    ),
    "windows summed by Einsum": (
        PATCHES.replace("HEADS", "WINDOWS") + SUMMED + MEAN.format("t"),
        "within windows.*4, 2, 4, 4",
    ),
    "a class token that attends alone": (
        PATCHES + ANSWER.format("w") + ASKED + "d = Concat<axis=1>(c, t)" + MEAN.format("d"),
        "1 queries and 16 keys",
    ),
    "attention between channels": (
        PATCHES.replace("MatMul(q, k)", "MatMul(k, q)")
        + "o = MatMul(w, k)  u = Transpose<perm=[0,3,1,2]>(o)  z = Reshape(u, BACK)  t = Add(n, z)"
        + MEAN.format("t"),
        "2 tokens or channels.*channels",
    ),
}


def attentive(body: str) -> Explainer:
    constants = {
        "PATCH": noise(4, 3, 2, 2, seed=1),
        "CLASSES": noise(4, 3, seed=2),
        "TALK": noise(2, 2, seed=3),
        "BIAS": noise(2, seed=4),
        "MIX": noise(2, 2, 1, 1, seed=5),
        "PROBE": noise(1, 1, 4, seed=6),
        "ROW": np.array([1, 4, 16]),
        "HEADS": np.array([1, 16, 2, 2]),
        "WINDOWS": np.array([4, 4, 2, 2]),
        "BACK": np.array([1, 16, 4]),
        "EXTRA": noise(1, 2, 4, seed=7),
        "MORE": np.array([1, 18, 2, 2]),
        "EIGHTEEN": np.array([1, 18, 4]),
        "FIRST": np.array(0),
        "ZERO": np.array([0]),
        "ONE": np.array([1]),
        "END": np.array([99]),
        "STEP": np.array([4]),
    }
    proto = tiny(body, "float[1,3,8,8] x", "float[1,3] y", **constants)
    return Explainer(proto, preprocess={"layout": "NCHW"}, provider="cpu")


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_why_attention_cannot_be_followed_and_what_works_there(name: str) -> None:
    body, reason = NOT_FOLLOWED[name]
    explainer = attentive(body)
    for method in READ_ATTENTION:
        with pytest.raises(LayerError, match=f"{reason}.*gradcam, or layercam"):
            explainer.attribute(noise(1, 3, 8, 8), method, 0)
    for method in ("gradcam", "layercam"):
        values = explainer.attribute(noise(1, 3, 8, 8), method, 0, layer="t").values
        assert values.shape == (1, 4, 4)


@pytest.mark.parametrize(
    "turned",
    [
        "wt = Transpose<perm=[0,1,3,2]>(w)  v = Transpose<perm=[0,2,3,1]>(h)  o = MatMul(v, wt)"
        "u = Transpose<perm=[0,3,1,2]>(o)  z = Reshape(u, BACK)  t = Add(n, z)",
        SUMMED,
        "wt = Transpose<perm=[0,1,3,2]>(w)"
        + SUMMED.replace("bhij", "bhji").replace("(w, q)", "(wt, q)"),
    ],
    ids=["MatMul from the right", "Einsum", "Einsum of the matrix turned"],
)
def test_attention_turned_or_summed_in_other_words(turned: str) -> None:
    x = noise(1, 3, 8, 8)
    for method in EVERYWHERE:
        plain, other = (
            attentive(PATCHES + answer + MEAN.format("t")).attribute(x, method, 0).values
            for answer in (ANSWER.format("w"), turned)
        )
        assert np.ptp(plain) > 0
        assert_allclose(other, plain, rtol=1e-5)


def registered(weights: str = "") -> Explainer:
    """A register follows the class token: it attends like the others, and is then dropped."""
    more = "n0 = Concat<axis=1>(EXTRA, e)  h = Reshape(n0, MORE)  q = Transpose<perm=[0,2,1,3]>(h)"
    patches = PATCHES.replace("n = T", "e = T").replace(
        "h = Reshape(n, HEADS)  q = Transpose<perm=[0,2,1,3]>(h)", more
    )
    patches = patches.replace("w = Softmax<axis=-1>(s)", weights or "w = Softmax<axis=-1>(s)")
    answer = ANSWER.format("w").replace("Add(n, z)", "Add(n0, z)").replace("BACK", "EIGHTEEN")
    return attentive(patches + answer + "c = Gather<axis=1>(t, FIRST)  y = MatMul(c, CLASSES)")


def test_only_the_tokens_that_the_score_reads_count() -> None:
    explainer, x = registered(), noise(1, 3, 8, 8)
    found = explainer.attribute(x, "attention_rollout", 0).values[0]
    (w,) = run(with_outputs(explainer.model, ["w"]).proto, {"x": x})
    assert_allclose(found.ravel(), rollout([w[0].astype(float)])[0, 2:], rtol=1e-5)


def test_grad_eclip_scales_the_likeness_over_the_grid_alone() -> None:
    """The class token's output is linear in the values, which are the queries here."""
    explainer, x = registered(), noise(1, 3, 8, 8)
    found = explainer.attribute(x, "grad_eclip", 0).values[0]
    read = run(with_outputs(explainer.model, ["q", "k"]).proto, {"x": x})
    q, k = (value[0].astype(float) for value in read)
    w = noise(4, 3, seed=2)[:, 0].reshape(2, 1, 2)
    dots = np.array([(q[:, 0] * k[:, :, i]).sum() for i in range(2, 18)])
    cosines = dots / np.linalg.norm(q[:, 0]) / np.linalg.norm(k[:, :, 2:].reshape(4, 16), axis=0)
    loose = (cosines - cosines.min()) / (cosines.max() - cosines.min())
    expected = np.maximum(loose * (w * q[:, 2:]).sum(axis=(0, 2)), 0)
    assert_allclose(found.ravel(), expected, atol=1e-5 * expected.max())


def test_grad_eclip_needs_a_product_of_queries_and_keys() -> None:
    explainer = registered("two = Mul(s, s)  more = Add(s, two)  w = Softmax<axis=-1>(more)")
    with pytest.raises(LayerError, match=r"queries and keys.*not found.*use generic_attention"):
        explainer.attribute(noise(1, 3, 8, 8), "grad_eclip", 0)


POOLED = PATCHES + ANSWER.format("w") + ASKED + "f = Squeeze(c, ONE)  y = MatMul(f, CLASSES)"


def test_tokens_that_attention_pools_are_weighted_by_it() -> None:
    explainer, x = attentive(POOLED), noise(1, 3, 8, 8)
    found = explainer.attribute(x, "attention_rollout", 0).values[0]
    w, p = run(with_outputs(explainer.model, ["w", "p"]).proto, {"x": x})
    assert_allclose(found.ravel(), p[0, 0].astype(float) @ rollout([w[0].astype(float)]), rtol=1e-5)


def test_attention_that_pools_counts_with_its_gradient() -> None:
    explainer, x = attentive(POOLED), noise(1, 3, 8, 8)
    found = explainer.attribute(x, "generic_attention", 0).values[0]
    read = run(with_outputs(explainer.model, ["n", "q", "w", "p"]).proto, {"x": x})
    n, q, w, p = (value[0].astype(float) for value in read)
    probe, weights = noise(1, 1, 4, seed=6)[0].astype(float), noise(4, 3, seed=2)[:, 0]

    def tokens(attention: Any) -> Any:
        return n + (attention @ q).transpose(1, 0, 2).reshape(16, 4)

    def score(attention: Any) -> float:
        after = tokens(attention)
        return float((softmax(probe @ after.T, axis=-1) @ after @ weights)[0])

    slopes, step = np.zeros_like(w), 1e-4
    for place in np.ndindex(*w.shape):
        nudge = np.zeros_like(w)
        nudge[place] = step
        slopes[place] = (score(w + nudge) - score(w - nudge)) / (2 * step)
    shares = np.maximum(w * slopes, 0).mean(axis=0)
    pool = np.maximum(p[0] * (tokens(w) @ weights), 0)
    assert_allclose(found.ravel(), pool + pool @ shares, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", READ_ATTENTION)
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
@pytest.mark.parametrize("method", READ_ATTENTION[1:])
def test_no_more_blocks_than_there_are(method: str, blocks: int) -> None:
    with pytest.raises(OptionError, match=f"{method} takes blocks from 1 to {BLOCKS}"):
        explained(ViT(), method, blocks=blocks)
