"""Targets that read several tensors of the model, explained by every kind of method.

Expected values are closed forms, torch's, and those of a model that computes the number itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from explainer.formulas import ADAPTIVE, NET_R_SHAPES, OPTIONS
from numpy.testing import assert_allclose, assert_array_equal
from onnx import ModelProto
from tiny import Array, noise, tiny

from onnxplain import Explainer
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import GradientError, TargetError
from onnxplain.execution import derivatives
from onnxplain.formulas.namespace import Namespace
from onnxplain.runtime.session import Session
from onnxplain.targets import Class, Target
from onnxplain.transforms.joined import with_joined

SUM, LARGEST = noise(75), noise(75, 4, seed=1)
BOTH = {"SUM": SUM[:, None], "LARGEST": LARGEST}
HEADS = "r = Flatten(x)  f = MatMul(r, SUM)  g = MatMul(r, LARGEST)"
TWO = "float[N,1] f, float[N,4] g"


@dataclass(frozen=True)
class Product(Target):
    """The first tensor's number times the largest of the second's."""

    name: str = "product"
    reads: tuple[str, ...] = ("f", "g")

    def formula(self, xp: Namespace, f: Any, g: Any, **parameters: Any) -> Any:
        return xp.sum(f, axis=-1) * xp.max(g, axis=-1)


@dataclass(frozen=True)
class Row(Target):
    """The mean of a row of the first tensor, times an element of the second."""

    index: int
    reads = ("boxes", "scores")

    @property
    def name(self) -> str:
        return f"row {self.index}"

    def parameters(self, boxes: tuple[int, ...], scores: tuple[int, ...]) -> Mapping[str, Array]:
        weights = np.zeros(boxes, np.float32)
        weights[self.index] = 1 / boxes[-1]
        return {"weights": weights, "place": np.array(self.index, np.int64)}

    def formula(self, xp: Namespace, boxes: Any, scores: Any, **parameters: Any) -> Any:
        mean = xp.sum(parameters["weights"] * boxes, axis=(-2, -1))
        return mean * xp.take(scores, parameters["place"])

    def check(self, boxes: tuple[int, ...], scores: tuple[int, ...]) -> None:
        if not 0 <= self.index < scores[0]:
            raise TargetError(f"There is no row {self.index}.")


@dataclass(frozen=True)
class Contrast(Target):
    """The number of one tensor, not of the other one that comes first."""

    name: str = "contrast"
    reads: tuple[str, ...] = ("f", "g")
    linear: ClassVar[bool] = True

    def formula(self, xp: Namespace, f: Any, g: Any, **parameters: Any) -> Any:
        first = np.array([1, 0, 0, 0], np.float32)
        return xp.sum(f, axis=-1) - xp.sum(g * first, axis=-1)


def two_heads(batch: str = "N") -> Explainer:
    model = tiny(HEADS, f"float[{batch},3,5,5] x", TWO.replace("N", batch), **BOTH)
    return Explainer(model)


def product(x: Array) -> tuple[Array, Array]:
    """The product of each sample, and its gradient."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    f, g = rows @ SUM, rows @ LARGEST
    best = g.argmax(axis=1)
    largest = g.max(axis=1)
    slope = largest[:, None] * SUM + f[:, None] * LARGEST.T[best]
    return f * largest, slope.reshape(x.shape)


@pytest.mark.parametrize("batch", "N1")
@pytest.mark.parametrize("count", [1, 20])
def test_the_gradient_of_a_product(count: int, batch: str) -> None:
    x = noise(count, 3, 5, 5, seed=2)
    scores, slope = product(x)
    found = two_heads(batch).attribute(x, "gradient", Product())
    assert_allclose(found.scores, scores, rtol=1e-5)
    assert_allclose(found.values, slope, rtol=1e-5, atol=1e-5)
    found = two_heads(batch).attribute(x, "input_x_gradient", Product())
    assert_allclose(found.values, x * slope, rtol=1e-5, atol=1e-5)


def test_what_covering_takes_away_from_a_product() -> None:
    x = noise(1, 3, 5, 5, seed=2)
    found = two_heads().attribute(x, "occlusion", Product(), window=1, fill="zeros")
    for row, column in ((0, 0), (2, 3)):
        covered = x.copy()
        covered[..., row, column] = 0
        lost = product(x)[0] - product(covered)[0]
        assert_allclose(found.values[0, :, row, column], np.repeat(lost, 3), rtol=1e-4)


def test_a_path_to_a_product_is_complete() -> None:
    """The largest element of the second tensor may change along the path."""
    x = noise(1, 3, 5, 5, seed=2)
    options = {"baseline": "zeros", "rule": "riemann-middle", "steps": 100}
    found = two_heads().attribute(x, "integrated_gradients", Product(), **options)
    assert_allclose(found.values.sum(), product(x)[0], rtol=1e-3)


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_tensors_are_read_as_they_are(score: str) -> None:
    x = noise(1, 3, 5, 5, seed=2)
    found = two_heads().attribute(x, "gradient", Product(), score=score)
    assert_allclose(found.values, product(x)[1], rtol=1e-5, atol=1e-5)


def test_rows_share_a_graph() -> None:
    body = "r = Flatten(x)  l = MatMul(r, W)  boxes = Reshape(l, SHAPE)  scores = MatMul(r, V)"
    w, v = noise(75, 12, seed=3), noise(75, 3, seed=4)
    weights = {"W": w, "V": v, "SHAPE": np.array([-1, 3, 4])}
    outputs = "float[N,3,4] boxes, float[N,3] scores"
    explainer = Explainer(tiny(body, "float[N,3,5,5] x", outputs, **weights))
    x = noise(3, 3, 5, 5, seed=2)
    found = explainer.attribute(x, "gradient", [Row(2), Row(0), Row(1)])
    sessions = explainer.open_sessions
    explainer.attribute(x, "gradient", [Row(1)] * 3)
    assert explainer.open_sessions == sessions
    for sample, index in enumerate((2, 0, 1)):
        row = x[sample].ravel()
        mean, score = (row @ w).reshape(3, 4)[index].mean(), (row @ v)[index]
        assert_allclose(found.scores[sample], mean * score, rtol=1e-5)
        slope = score * w.reshape(75, 3, 4)[:, index].mean(axis=1) + mean * v[:, index]
        assert_allclose(found.values[sample].ravel(), slope, rtol=1e-4, atol=1e-5)
    assert [target.name for target in found.targets] == ["row 2", "row 0", "row 1"]
    with pytest.raises(TargetError, match="no row 3"):
        explainer.attribute(x[:1], "gradient", Row(3))


WEIGHTS = {
    "K": noise(6, 3, 3, 3) / 3, "L": noise(8, 6, 3, 3, seed=1) / 6, "BIAS": noise(6, seed=2),
    "W": noise(6, 1, seed=3), "V": noise(8, 4, seed=4),
}  # fmt: skip
BODY = """a = Conv<pads=[1,1,1,1]>(x, K, BIAS)  b = Relu(a)
    c = Conv<pads=[1,1,1,1], strides=[2,2]>(b, L)  d = Relu(c)
    p = GlobalAveragePool(b)  q = Flatten(p)  f = MatMul(q, W)
    s = GlobalAveragePool(d)  t = Flatten(s)  g = MatMul(t, V)"""
IN_THE_MODEL = BODY + "  m = ReduceMax<axes=[1], keepdims=1>(g)  y = Mul(f, m)"
CLASSES_NEEDED = {"cam", "regression_activation_map"}
DISTRIBUTING = {"lrp", "deeplift"}


def convolutional(nodes: str, outputs: str) -> Explainer:
    """Two heads, at layers of different sizes."""
    model = tiny(nodes, "float[N,3,20,26] x", outputs, **WEIGHTS)
    return Explainer(model, preprocess={"size": (20, 26), "scale": 1 / 255})


@pytest.mark.parametrize("method", sorted({*NET_R_SHAPES} - CLASSES_NEEDED - DISTRIBUTING))
def test_every_method_says_what_it_says_where_the_model_computes_the_number(method: str) -> None:
    if method in ("lime", "kernelshap"):
        pytest.importorskip("skimage")
    options = OPTIONS.get(method, {})
    x = np.abs(noise(1, 3, 20, 26, seed=7))
    found = convolutional(BODY, TWO).attribute(x, method, Product(), **options)
    expected = convolutional(IN_THE_MODEL, "float[N,1] y").attribute(x, method, 0, **options)
    close = 1e-3 if method in ADAPTIVE else 1e-4
    assert found.layer == expected.layer
    assert_allclose(found.scores, expected.scores, rtol=1e-5)
    largest = np.abs(expected.values).max()
    assert largest > 0
    assert_allclose(found.values, expected.values, atol=close * largest)


@pytest.mark.parametrize("method", sorted(DISTRIBUTING))
def test_a_product_is_not_shared_out_and_a_difference_is(method: str) -> None:
    x = np.abs(noise(1, 3, 20, 26, seed=7))
    explainer = convolutional(BODY, TWO)
    with pytest.raises(TargetError, match="distributes a number that the graph itself computes"):
        explainer.attribute(x, method, Product())
    inside = BODY + "  i = Gather<axis=1>(g, FIRST)  y = Sub(f, i)"
    model = tiny(inside, "float[N,3,20,26] x", "float[N,1] y", FIRST=np.array([0]), **WEIGHTS)
    options = {"baseline": "zeros"} if method == "deeplift" else {"composite": "epsilon"}
    found = explainer.attribute(x, method, Contrast(), **options)
    expected = Explainer(model).attribute(x, method, 0, **options)
    assert_allclose(found.scores, expected.scores, rtol=1e-5)
    largest = np.abs(expected.values).max()
    assert_allclose(found.values, expected.values, atol=1e-4 * largest)


def test_targets_that_read_other_tensors_side_by_side() -> None:
    explainer = convolutional(BODY, TWO)
    picture = np.random.default_rng(0).integers(0, 256, (20, 26, 3), np.uint8)
    specs = [Class(0), Product(), Contrast()]
    for method in ("gradient", "occlusion"):
        together = explainer.explain_each(picture, method, specs)
        for one, spec in zip(together, specs, strict=True):
            alone = explainer.explain(picture, method, spec)
            assert one.target == alone.target
            assert (one.score, one.score_kind) == (alone.score, alone.score_kind)
            assert_allclose(one.values, alone.values, rtol=1e-4, atol=1e-6)
        assert [one.score_tensor for one in together] == ["f", "f,g", "f,g"]
        assert together[1].score_kind == "output"
        pictures = explainer.explain_many([picture, picture[::-1]], method, specs)
        names = [one.target.name for one in pictures]
        assert names == [one.target.name for one in together] * 2
    with pytest.raises(TargetError, match="means 3 targets"):
        explainer.explain(picture, "gradient", specs)  # type: ignore[arg-type]
    assert explainer.targets(picture, [0, Product()])[1] == Product()


def test_sessions_and_runs_count_together() -> None:
    explainer, x = two_heads(), noise(1, 3, 5, 5)
    explainer.attribute(x, "gradient", Product())
    assert explainer.provider == "CPUExecutionProvider"
    runs = explainer.session_runs
    explainer.attribute(x, "gradient", Product())
    assert explainer.session_runs == runs + 1
    assert explainer.open_sessions == 2  # a plain one for the proof, and the finished graph


def test_a_graph_that_computes_one_tensor_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However small it is compared with the other."""

    def small(sign: int) -> ModelProto:
        weights = BOTH | {"SUM": 1e6 * BOTH["SUM"], "LARGEST": sign * LARGEST}
        return tiny(HEADS, "float[N,3,5,5] x", TWO, **weights)

    def other(model: Any) -> Any:
        return lower(with_joined(Explainer(small(-1)).model, ["f", "g"]))

    monkeypatch.setattr(derivatives, "lower", other)
    with pytest.raises(GradientError, match=r"differs by .* from the model"):
        Explainer(small(1)).attribute(noise(1, 3, 5, 5), "gradient", Product())


def test_integers_that_stand_for_reals() -> None:
    """The second tensor is quantized, and the floats that it represents are read."""
    nodes = HEADS + """  i = QuantizeLinear(g, SCALE, ZERO)  o = DequantizeLinear(i, SCALE, ZERO)"""
    weights = BOTH | {"SCALE": np.float32(0.25), "ZERO": np.int8(3)}
    outputs = "float[N,1] f, float[N,4] o, int8[N,4] i"
    explainer = Explainer(tiny(nodes, "float[N,3,5,5] x", outputs, **weights))
    x = noise(1, 3, 5, 5, seed=2)
    found = [
        explainer.attribute(x, "occlusion", Product(reads=("f", name)), window=1, fill="zeros")
        for name in "io"
    ]
    assert_allclose(found[0].values, found[1].values, rtol=1e-5)
    assert_array_equal(found[0].scores, found[1].scores)


def test_a_tensor_that_the_model_has_not() -> None:
    with pytest.raises(TargetError, match=r"reads 'gg'.*did you mean g"):
        two_heads().attribute(noise(1, 3, 5, 5), "gradient", Product(reads=("f", "gg")))


def test_other_targets_pay_nothing_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, x = two_heads(), noise(1, 3, 5, 5)
    explainer.attribute(x, "gradient", 0)
    explainer.attribute(x, "gradient", Product())
    outputs: list[list[str]] = []
    run = Session.run

    def spied(self: Session, *arguments: Any) -> Any:
        outputs.append(self.outputs)
        return run(self, *arguments)

    monkeypatch.setattr(Session, "run", spied)
    explainer.attribute(x, "gradient", 0)
    assert [[name for name in names if "joined" in name] for names in outputs] == [[]]


@pytest.mark.peers
def test_the_gradient_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    x = np.abs(noise(2, 3, 20, 26, seed=7))
    w = {name: torch.from_numpy(value) for name, value in WEIGHTS.items()}
    image = torch.from_numpy(x).requires_grad_()
    conv, relu = torch.nn.functional.conv2d, torch.relu
    b = relu(conv(image, w["K"], w["BIAS"], padding=1))
    d = relu(conv(b, w["L"], padding=1, stride=2))
    number = (b.mean((2, 3)) @ w["W"])[:, 0] * (d.mean((2, 3)) @ w["V"]).max(1).values
    (slope,) = torch.autograd.grad(number.sum(), image)
    found = convolutional(BODY, TWO).attribute(x, "gradient", Product())
    assert_allclose(found.scores, number.detach().numpy(), rtol=1e-5)
    expected = slope.numpy()
    assert_allclose(found.values, expected, atol=1e-5 * np.abs(expected).max())
