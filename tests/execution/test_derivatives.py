"""Gradients through the engine: every target, every way to choose points, and refused cases.

Expected values are central differences of plain ONNX Runtime runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from onnx import ModelProto
from tiny import Array, noise, run, tiny

from onnxplain import Explainer
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import GradientError
from onnxplain.execution import derivatives
from onnxplain.execution.points import Blend, Feeds, Given
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.wants import InputGradient, LayerGradient, SampleScores, Want
from onnxplain.formulas.namespace import Namespace, over_samples
from onnxplain.methods.base import SampledMethod
from onnxplain.methods.options import LayerName, Option, Switch
from onnxplain.targets import Element, Mask, Similarity, Target
from onnxplain.transforms.masks import Share

X = noise(1, 3, 6, 6)
BASELINE = noise(1, 3, 6, 6, seed=5)
SHARES = np.linspace(0, 1, 7, dtype=np.float32)
WEIGHTS = {
    "KERNEL": noise(4, 3, 3, 3),
    "CLASSES": noise(4, 3, seed=1),
}
# Smooth everywhere: a difference across a kink would not be the slope.
BODY = "a = Conv<pads=[1,1,1,1]>(x, KERNEL)  b = Tanh(a)  p = GlobalAveragePool(b)  f = Flatten(p)"
LOGITS = BODY + "  y = MatMul(f, CLASSES)"
SOFTMAX = BODY + "  z = MatMul(f, CLASSES)  y = Softmax<axis=1>(z)"
MAP = "y = Conv<pads=[1,1,1,1]>(x, KERNEL)"


def build(nodes: str = LOGITS, x: str = "N,3,6,6", y: str = "N,3") -> ModelProto:
    used = {name: value for name, value in WEIGHTS.items() if name in nodes}
    return tiny(nodes, f"float[{x}] x", f"float[{y}] y", **used)


def slopes(score: Callable[[Array], float], x: Array = X, step: float = 1e-2) -> Array:
    """Central differences of the fourth order at every element."""
    found = np.zeros(x.size)
    for i in range(x.size):
        unit = np.zeros(x.size, np.float32)
        unit[i] = step
        e = unit.reshape(x.shape)
        near, far = score(x + e) - score(x - e), score(x + 2 * e) - score(x - 2 * e)
        found[i] = (8 * near - far) / (12 * step)
    return found.reshape(x.shape)


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum()


def answer(proto: ModelProto, x: Array) -> Array:
    return run(proto, {"x": x.astype(np.float32)})[0].astype(np.float64)


REFERENCE = noise(3, seed=9)
WHOLE = noise(4, 6, 6, seed=3)
CASES: dict[str, tuple[str, Any, str, Callable[[Array], float]]] = {
    "a class's logit": (LOGITS, 1, "logit", lambda y: y[0, 1]),
    "its probability": (LOGITS, 1, "probability", lambda y: softmax(y[0])[1]),
    "a softmax in the model": (SOFTMAX, 2, "probability", lambda y: y[0, 2]),
    "the logit before it": (SOFTMAX, 2, "logit", lambda y: np.log(y[0, 2])),
    "an element": (LOGITS, Element((-1,)), "logit", lambda y: y[0, 2]),
    "a region": (MAP, Mask(WHOLE), "logit", lambda y: float((y[0] * WHOLE).sum())),
    "a similarity": (
        LOGITS,
        Similarity(REFERENCE),
        "logit",
        lambda y: y[0] @ REFERENCE / np.linalg.norm(y) / np.linalg.norm(REFERENCE),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_every_target(case: str) -> None:
    nodes, target, score, number = CASES[case]
    proto = build(nodes, y="N,4,6,6" if nodes == MAP else "N,3")
    found = Explainer(proto).attribute(X, "gradient", target, score=score).values
    expected = slopes(lambda x: number(answer(proto, x)))
    if case == "the logit before it":  # the logarithm of its probability, minus a normalizer
        logits = build(LOGITS)
        expected = slopes(lambda x: answer(logits, x)[0, 2])
    np.testing.assert_allclose(found, expected, atol=3e-4 * np.abs(expected).max())


@dataclass(frozen=True, kw_only=True)
class Probe(SampledMethod):
    """The sum of gradients at points between a baseline and the sample.

    `found` keeps the scores, (1, b), and gradients, (1, b, ...), of each batch.
    """

    found: ClassVar[list[tuple[Array, Array]]] = []

    name: ClassVar[str] = "probe"
    at_layer: LayerName = ""
    inside: Annotated[Switch, Option("", "Make the points in the graph.")] = True

    def layers(self, structure: Any) -> Any:
        return [structure.layer(self.at_layer)] if self.at_layer else []

    @property
    def wants(self) -> Sequence[Want]:
        return SampleScores(), LayerGradient() if self.at_layer else InputGradient()

    def sampling(self, original: Original) -> Sequence[Sampling]:
        shares = SHARES.reshape(-1, 1, 1, 1)
        if self.inside:
            return [Sampling(Blend(Share(), Feeds.of({"share": shares}), BASELINE))]
        points = (1 - shares) * BASELINE + shares * X
        return [Sampling(Given(len(SHARES), lambda part: points[part]))]

    def terms(self, xp: Namespace, original: Original, *found: Any) -> Mapping[str, Any]:
        self.found.append((found[0], found[1]))
        return {"sum": over_samples(xp, found[1])}

    def map(self, xp: Namespace, original: Original, sums: Mapping[str, Any]) -> Any:
        return xp.sum(sums["sum"], axis=-3) if self.at_layer else sums["sum"]

    def heat(self, values: Any, spatial: Any) -> Any:
        return values[0, 0]


FORMS = {
    "any batch": "N,3,6,6",
    "a batch of one": "1,3,6,6",
    "a batch of three": "3,3,6,6",
}


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("at_layer", ["", "b"])
def test_points_in_batches_are_points_one_by_one(
    form: str, batch_size: int | None, inside: bool, at_layer: str
) -> None:
    first = FORMS[form].split(",")[0]
    proto = build(x=FORMS[form], y=f"{first},3")
    explainer = Explainer(proto, batch_size=batch_size)
    Probe.found.clear()
    explainer.attribute(X, Probe(inside=inside, at_layer=at_layer), 1)
    scored, (found,) = (np.concatenate(own, axis=1) for own in zip(*Probe.found, strict=True))

    free = build()
    points = [np.float32(a) * X + np.float32(1 - a) * BASELINE for a in SHARES]
    scores = [answer(free, point)[0, 1] for point in points]
    np.testing.assert_allclose(scored[0], scores, rtol=1e-4)
    if at_layer:
        # y = mean of b over rows and columns, times the weights.
        expected = np.broadcast_to(WEIGHTS["CLASSES"][:, 1].reshape(-1, 1, 1) / 36, (4, 6, 6))
        np.testing.assert_allclose(found, np.stack([expected] * len(SHARES)), rtol=1e-5)
    else:
        for one, point in zip(found[::3], points[::3], strict=True):
            expected = slopes(lambda x: answer(free, x)[0, 1], point)[0]
            np.testing.assert_allclose(one, expected, atol=3e-4 * np.abs(expected).max())
    largest = 3 if batch_size == 3 or form == "a batch of three" else 1
    assert max(own.shape[1] for own, _ in Probe.found) == largest


@dataclass(frozen=True)
class Margin(Target):
    """The difference of the first score and the second, squared."""

    name: str = "margin"

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        first, second = (
            xp.sum(answer * np.array(one, np.float32), axis=-1) for one in ([1, 0, 0], [0, 1, 0])
        )
        return (first - second) ** 2


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "gradcam"])
def test_a_target_of_the_users_own_is_a_formula(method: str) -> None:
    proto = build(LOGITS)
    options = {"baseline": "zeros", "steps": 1} if method == "integrated_gradients" else {}
    found = Explainer(proto).attribute(X, method, Margin(), **options)
    scores = answer(proto, X)[0]
    np.testing.assert_allclose(found.scores, (scores[0] - scores[1]) ** 2, rtol=1e-5)
    if method == "gradient":
        expected = slopes(lambda x: np.subtract(*answer(proto, x)[0, :2]) ** 2)
        np.testing.assert_allclose(found.values, expected, atol=3e-4 * np.abs(expected).max())


@dataclass(frozen=True)
class Power(Target):
    """A power of a score: a different formula for every exponent."""

    index: int
    exponent: int
    name: str = "power"

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Any]:
        return {"place": np.array(self.index)}

    def formula(self, xp: Namespace, answer: Any, **parameters: Any) -> Any:
        return xp.take(xp.flatten(answer), parameters["place"]) ** self.exponent


def test_targets_of_one_class_may_have_other_formulas() -> None:
    explainer = Explainer(build(LOGITS))
    plain = explainer.attribute(X, "gradient", 1)
    for exponent in (1, 2, 3):
        found = explainer.attribute(X, "gradient", Power(1, exponent)).values
        expected = exponent * plain.scores[0] ** (exponent - 1) * plain.values
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_graph_that_no_longer_answers_as_the_model_does_is_not_differentiated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = lower(Explainer(build(LOGITS.replace("Tanh", "Sigmoid"))).model)
    monkeypatch.setattr(derivatives, "lower", lambda model: other)
    with pytest.raises(GradientError, match=r"differs by .* from the model"):
        Explainer(build()).attribute(X, "gradient", 1)
