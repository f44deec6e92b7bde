"""DeepLIFT's contributions: computed by hand if possible; they always add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny import Array, noise, run, tiny

from onnxplain import Explainer
from onnxplain.errors import GradientError, TargetError
from onnxplain.targets import Similarity
from tools.cases.models import CASES as MODELS

ONES = np.ones((2, 1), np.float32)
TAIL = "  y = MatMul(h, ONES)"
PAIR = "a = Slice(x, [0], [1], [1])  b = Slice(x, [1], [2], [1])  "

# Nodes, sample, baseline, contributions. The comments show how the contributions are computed.
BY_HAND: dict[str, tuple[str, list[float], list[float], list[float]]] = {
    # Rescale: relu(3) - relu(-1) is the effect of a difference of 4; 1 - relu(1 - x) saturates.
    "relu": ("h = Relu(x)" + TAIL, [3, -2], [-1, -1], [3, 0]),
    "saturation": (
        "c = Sub(ONE, x)  r = Relu(c)  h = Sub(ONE, r)" + TAIL,
        [2, 0.5],
        [0, 0],
        [1, 0.5],
    ),
    "no difference": ("h = Sigmoid(x)" + TAIL, [2, 0], [2, 0], [0, 0]),
    # 12 - 2: 2 * (4 + 2)/2 and 2 * (3 + 1)/2.
    "product": (PAIR + "y = Mul(a, b)", [3, 4], [1, 2], [6, 4]),
    # 3 - 2: 4 * (1/2 + 1)/2 and -1 * (6 + 2)/2 * 1/2 * 1.
    "quotient": (PAIR + "y = Div(a, b)", [6, 2], [2, 1], [3, -2]),
    # 3 - 2: a raises it from 1 or 2 to 3, b lowers it from 3 or 2 to 3 or 1.
    "maximum of two": (PAIR + "y = Max(a, b)", [3, 1], [0, 2], [1.5, -0.5]),
    # 9 - 1: base at exponents 2 and 1, (9 - 1 + 3 - 1)/2; exponent at bases 3 and 1, (9 - 3 + 0)/2.
    "power of two": (PAIR + "y = Pow(a, b)", [3, 2], [1, 1], [5, 3]),
    # 5 - 4 to the position of 5, 2 - 4 to that of 4.
    "maximum gained": ("y = ReduceMax<keepdims=1>(x, LAST)", [1, 5], [4, 2], [0, 1]),
    "maximum lost": ("y = ReduceMax<keepdims=1>(x, LAST)", [1, 2], [4, 3], [-2, 0]),
    "minimum lost": ("y = ReduceMin<keepdims=1>(x, LAST)", [1, 5], [4, 2], [-1, 0]),
    # (5 - 1) split as (3 + 0)/(5 + 1) * 3 and (4 + 1)/(5 + 1) * 3.
    "norm": ("y = ReduceL2<keepdims=1>(x, LAST)", [3, 4], [0, 1], [1.5, 2.5]),
    # 3/4 - 1/2, all from the first logit.
    "softmax": (
        "s = Softmax<axis=1>(x)  y = Slice(s, [0], [1], [1])",
        [np.log(3), 0],
        [0, 0],
        [0.25, 0],
    ),
}


def constants(nodes: str) -> dict[str, Array]:
    known = {"ONES": ONES, "ONE": np.float32(1), "LAST": np.array([1])}
    return {name: value for name, value in known.items() if name in nodes}


@pytest.mark.parametrize("case", BY_HAND)
def test_by_hand(case: str) -> None:
    nodes, sample, baseline, expected = BY_HAND[case]
    nodes, lists = _named_lists(nodes)
    proto = tiny(nodes, "float[N,2] x", "float[N,1] y", opset=18, **constants(nodes), **lists)
    x, other = (np.array([values], np.float32) for values in (sample, baseline))
    found = Explainer(proto).attribute(x, "deeplift", 0, baseline=other).values
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)


def _named_lists(nodes: str) -> tuple[str, dict[str, Array]]:
    """ONNX's text form has no literals: [0] becomes a separate constant."""
    lists = {f"AT_{n}": np.array([n]) for n in (0, 1, 2)}
    for name, value in lists.items():
        nodes = nodes.replace(f"[{value[0]}]", name)
    return nodes, {name: value for name, value in lists.items() if name in nodes}


X, BASELINE = noise(1, 4, 6, 6, seed=1), noise(1, 4, 6, 6, seed=2)
WEIGHTS: dict[str, Array] = {
    "KERNEL": noise(8, 4, 3, 3, seed=3),
    "BIAS": noise(8, seed=4),
    "MORE": noise(8, 8, 3, 3, seed=5) / 4,
    "VARIANCE": np.abs(noise(8, seed=6)) + 1,
    "SQUARE": noise(8, 8, seed=7) / 2,
    "KEYS": noise(8, 8, seed=8) / 2,
    "SLOPE": np.abs(noise(8, 1, 1, seed=9)),
    "ROWS": np.array([0, 8, -1]),
    "CELLS": noise(6, 6, seed=10),
    "TWO": np.float32(2),
    "ZERO": np.float32(0),
    "SIX": np.float32(1.5),
    "SPATIAL": np.array([2, 3]),
}
CONV = "a = Conv<pads=[1,1,1,1]>(x, KERNEL, BIAS)  "
TOKENS = CONV + "f = Reshape(a, ROWS)  t = Transpose<perm=[0,2,1]>(f)  "
POOLED = "  p = GlobalAveragePool(h)  y = Flatten(p)"
UNEVEN = "  u = Mul(h, CELLS)  p = GlobalAveragePool(u)  y = Flatten(p)"
MEAN = "  y = ReduceMean<keepdims=0>(h, TOKEN)"
ATTENTION = (
    "q = MatMul(t, SQUARE)  k = MatMul(t, KEYS)  kt = Transpose<perm=[0,2,1]>(k)  "
    "l = MatMul(q, kt)  w = Softmax<axis=-1>(l)  v = MatMul(w, t)  h = Add(v, t)" + MEAN
)
BODIES = {
    "convolutions": CONV + "r = Relu(a)  h = Conv(r, MORE)" + POOLED,
    "batch norm": CONV
    + "h0 = BatchNormalization(a, BIAS, BIAS, BIAS, VARIANCE)  h = Relu(h0)"
    + POOLED,
    "prelu": CONV + "h = PRelu(a, SLOPE)" + POOLED,
    "relu6": CONV + "h = Clip(a, ZERO, SIX)" + POOLED,
    "gelu": CONV + "h = Gelu(a)" + POOLED,
    "swish by hand": CONV + "s = Sigmoid(a)  h = Mul(a, s)" + POOLED,
    "gate": CONV + "g = GlobalAveragePool(a)  s = HardSigmoid(g)  h = Mul(a, s)" + POOLED,
    "pools": CONV
    + "m = MaxPool<kernel_shape=[3,3],strides=[2,2],pads=[1,1,1,1]>(a)  r = Softsign(m)  "
    "h = AveragePool<kernel_shape=[2,2]>(r)" + POOLED,
    "one of both": CONV + "s = Relu(a)  c = Conv<pads=[1,1,1,1]>(s, MORE)  m = Max(s, c)  "
    "h = Min(m, a)" + POOLED,
    "global maximum": CONV + "h = GlobalMaxPool(a)" + POOLED,
    "layer norm": TOKENS + "h = LayerNormalization(t, BIAS, BIAS)" + MEAN,
    "instance norm": CONV + "i = InstanceNormalization(a, BIAS, BIAS)  h = Relu(i)" + UNEVEN,
    "norm by hand": CONV + "m = ReduceMean(a, SPATIAL)  c = Sub(a, m)  s = Pow(c, TWO)  "
    "v = ReduceMean(s, SPATIAL)  d = Sqrt(v)  e = Div(c, d)  h = Relu(e)" + UNEVEN,
    "attention": TOKENS + ATTENTION,
    "log softmax": CONV + "g = GlobalAveragePool(a)  f = Flatten(g)  z = LogSoftmax<axis=1>(f)  "
    "y = Mul(z, BIAS)",
}


def model(nodes: str, batch: str = "N") -> Any:
    used = {name: value for name, value in WEIGHTS.items() if name in nodes}
    used |= {"TOKEN": np.array([1])} if "TOKEN" in nodes else {}
    return tiny(nodes, f"float[{batch},4,6,6] x", f"float[{batch},8] y", opset=20, **used)


@pytest.mark.parametrize("batch", ["N", "1", "2"])
@pytest.mark.parametrize("body", BODIES)
def test_contributions_add_up_to_the_change_of_the_score(body: str, batch: str) -> None:
    proto = model(BODIES[body], batch)
    found = Explainer(proto).attribute(X, "deeplift", 3, baseline=BASELINE)
    free = model(BODIES[body])
    after, before = (float(run(free, {"x": x})[0][0, 3]) for x in (X, BASELINE))
    assert abs(after - before) > 1e-2, "the case shows nothing"
    assert found.values.sum() == pytest.approx(
        after - before, abs=1e-5 * float(np.abs(found.values).sum())
    )
    gap = found.diagnostics["samples"][0]["completeness_gap"]
    assert gap == pytest.approx(found.values.sum(dtype=np.float64) - (after - before), abs=1e-5)


@pytest.mark.parametrize("name", ["efficientnet", "squeezenet"])
def test_contributions_add_up_on_the_shipped_models(name: str) -> None:
    case = MODELS[name]()
    score = case.score()
    expected = score(case.x) - score(case.black)
    assert case.attribute("deeplift").sum(dtype=np.float64) == pytest.approx(expected, rel=1e-5)


def test_what_has_no_rule_is_refused_by_name() -> None:
    proto = model(CONV + "h = LRN<size=3>(a)" + POOLED)
    with pytest.raises(
        GradientError, match=r"LRN .* no rule in deeplift: use integrated_gradients"
    ):
        Explainer(proto).attribute(X, "deeplift", 3, baseline="zeros")


def test_a_choice_by_the_picture_is_refused() -> None:
    proto = model(CONV + "c = Greater(a, ZERO)  h = Where(c, a, ZERO)" + POOLED)
    with pytest.raises(GradientError, match=r"Where .* condition that depends on the picture"):
        Explainer(proto).attribute(X, "deeplift", 3, baseline="zeros")


def test_a_target_that_is_not_linear_in_the_answers_is_refused() -> None:
    proto = model(BODIES["convolutions"])
    with pytest.raises(TargetError, match=r"a class, an element, a region or a weighted sum"):
        Explainer(proto).attribute(X, "deeplift", Similarity(noise(8)), baseline="zeros")
