"""Which layer `auto` means if the output is itself a map."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import LayerError

WEIGHTS = {
    "STEM": noise(4, 3, 3, 3),
    "DEEP": noise(4, 4, 3, 3),
    "DEEPER": noise(4, 8, 3, 3),
    "POINT": noise(4, 4, 1, 1),
    "CLASSES": noise(2, 4, 1, 1),
    "DEEPEST": noise(3, 4, 1, 1),
    "ORDER": np.array([2, 0, 1]),
    "WIDE": noise(2, 8, 1, 1),
    "LEARNED": noise(2, 2, 2, 2),
    "WHOLE": np.full((2, 2, 2, 2), 3, np.int8),
    "STEP": np.array(0.1, np.float32),
    "FOUR": noise(4, 4, 2, 2),
    "NONE": np.zeros(0, np.float32),
    "TWICE": np.array([1, 1, 2, 2], np.float32),
    "FOURFOLD": np.array([1, 1, 4, 4], np.float32),
    "SIXFOLD": np.array([1, 1, 6, 6], np.float32),
}
PAD = "pads=[1,1,1,1]"
HALF = "strides=[2,2], pads=[1,1,1,1]"
BACKBONE = f"a = Conv<{HALF}>(x, STEM) b = Relu(a) c = Conv<{HALF}>(b, DEEP) d = Relu(c)"
ENLARGED = 'y = Resize<mode="linear">(s, NONE, FOURFOLD)'

# name: (nodes, the layer)
AUTO = {
    "before the classifier and what enlarges its scores": (
        f"{BACKBONE} s = Conv(d, CLASSES) {ENLARGED}", "d"),
    "before a head": (
        f"{BACKBONE} e = Conv<{PAD}>(d, DEEP) f = Relu(e) s = Conv(f, CLASSES) {ENLARGED}", "f"),
    "before a classifier of enlarged features": (
        f'{BACKBONE} u = Resize<mode="linear">(d, NONE, FOURFOLD) y = Conv(u, CLASSES)', "d"),
    "a learned enlargement of the scores": (
        f"{BACKBONE} s = Conv(d, CLASSES) t = ConvTranspose<strides=[2,2]>(s, LEARNED) "
        "y = ConvTranspose<strides=[2,2]>(t, LEARNED)", "d"),
    "a learned enlargement with quantized weights": (
        f"{BACKBONE} s = Conv(d, CLASSES) LEARNED = DequantizeLinear(WHOLE, STEP) "
        "y = ConvTranspose<strides=[2,2]>(s, LEARNED)", "d"),
    "a bias and a softmax behind": (
        f"{BACKBONE} s = Conv(d, CLASSES) t = Mul(s, HALVED) u = Add(t, HALVED) "
        "y = Softmax<axis=1>(u)", "d"),
    "channels last": (
        f"{BACKBONE} s = Conv(d, CLASSES) y = Transpose<perm=[0,2,3,1]>(s)", "d"),
    "the bottleneck of a U-Net": (
        f"a = Conv<{PAD}>(x, STEM) b = Relu(a) c = Conv<{HALF}>(b, DEEP) d = Relu(c) "
        f"e = Conv<{PAD}>(d, DEEP) f = Relu(e) u = ConvTranspose<strides=[2,2]>(f, FOUR) "
        f"v = Concat<axis=1>(u, b) w = Conv<{PAD}>(v, DEEPER) r = Relu(w) y = Conv(r, CLASSES)",
        "f"),
    "two classifiers at two grids": (
        f"{BACKBONE} s = Conv(d, CLASSES) t = Resize<mode=\"linear\">(s, NONE, TWICE) "
        "low = Conv(b, CLASSES) y = Add(t, low)", "d"),
    "not a pool that sums up the context": (
        f"{BACKBONE} p = AveragePool<kernel_shape=[6,6], strides=[6,6]>(d) q = Conv(p, POINT) "
        'r = Resize<mode="linear">(q, NONE, SIXFOLD) v = Concat<axis=1>(d, r) '
        f"w = Conv<{PAD}>(v, DEEPER) z = Relu(w) s = Conv(z, CLASSES) {ENLARGED}", "z"),
}  # fmt: skip


def segmenter(nodes: str) -> ModelProto:
    return tiny(
        nodes,
        "float[N,3,48,48] x",
        "float[N,A,B,C] y",
        **{k: v for k, v in WEIGHTS.items() if k in nodes and f"{k} =" not in nodes},
        **({"HALVED": np.full((1, 2, 1, 1), 0.5, np.float32)} if "HALVED" in nodes else {}),
    )


@pytest.mark.parametrize("name", AUTO)
def test_auto(name: str) -> None:
    nodes, layer = AUTO[name]
    explainer = Explainer(segmenter(nodes))
    x = noise(1, 3, 48, 48)
    assert explainer.layer("auto", x).tensor == layer
    # A layer can still be chosen by name, the scores themselves too.
    if "s = Conv" in nodes and " y = Resize" in nodes:
        assert explainer.layer("s", x).tensor == "s"


def test_all_leaves_the_scores_out() -> None:
    nodes, _ = AUTO["before the classifier and what enlarges its scores"]
    explainer = Explainer(segmenter(nodes), preprocess={"scale": 1, "mean": 0, "std": 1})
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    found = explainer.explain(picture, "gradcam", "top1", layer="all", relu=False)
    assert found.layers == ("a", "b", "c", "d")


def test_a_single_convolution_has_no_layer_but_its_scores() -> None:
    explainer = Explainer(segmenter("s = Conv(x, STEM) y = Relu(s)"))
    with pytest.raises(LayerError, match=r"map of scores already.*occlusion.*or name 's'"):
        explainer.layer("auto", noise(1, 3, 48, 48))


# In another order: only the labels, or the size, say which axis has the classes.
CHOSEN = (
    f'{BACKBONE} s = Conv(d, DEEPEST) u = Resize<mode="linear">(s, NONE, FOURFOLD) '
    "y = Gather<axis=1>(u, ORDER)"
)


@pytest.mark.parametrize("labels", [["sky", "cat", "dog"], ["sky", "cat"]])
def test_the_labels_or_the_size_tell_that_an_answer_is_a_map(labels: list[str]) -> None:
    explainer = Explainer(segmenter(CHOSEN), labels=labels)
    assert explainer.layer("auto", noise(1, 3, 48, 48)).tensor == "d"
