"""The axioms of attribution, on toy nets in closed form and on the shipped models.

Sundararajan et al. 2017, sections 2 to 4. The paper says which method keeps which axiom, or it
follows from the formula.
"""

from typing import Any

import numpy as np
import onnx
import pytest
from methods.formulas import of_two
from numpy.testing import assert_allclose, assert_array_equal
from onnx import helper, numpy_helper
from onnx.compose import add_prefix, merge_models

from onnxplain import Explainer
from onnxplain.targets import Mask
from tools.cases.models import CASES, MODELS, Array, Case

SHIPPED = ["efficientnet", "squeezenet"]
IG: dict[str, Any] = {"baseline": "zeros", "steps": 20}


def column(*values: float) -> Array:
    return np.array(values, np.float32).reshape(-1, 1)


def changed(name: str, edit: Any) -> onnx.ModelProto:
    """A shipped model after an edit of its graph."""
    model = onnx.load(MODELS / name)
    edit(model.graph)
    return model


# --- Sensitivity (a): what differs and matters gets a value -------------------------------------


def test_sensitivity_a_where_the_gradient_is_blind() -> None:
    """f = 1 − relu(1 − x) is 0 at 0 and 1 from 1 on: at 2 the gradient is 0, but x causes all of f.

    The integral is 1. A left rule with 20 steps, 10 of them below 1, gives exactly 1.
    """
    subject = of_two(
        "s = MatMul(x, PICK)  a = Sub(ONE, s)  b = Relu(a)  y = Sub(ONE, b)",
        PICK=column(1, 0),
        ONE=np.float32(1),
    )
    x = np.array([[2, 5]], np.float32)
    assert_array_equal(subject.attribute(x, "gradient", 0).values, [[0, 0]])
    found = subject.attribute(x, "integrated_gradients", 0, rule="riemann-left", **IG).values
    assert_allclose(found, [[1, 0]], atol=1e-6)
    guided = subject.attribute(x, "guided_ig", 0, baseline="zeros", steps=500).values
    assert_allclose(guided, [[1, 0]], atol=0.02)


@pytest.mark.parametrize("name", SHIPPED)
def test_sensitivity_a_on_a_shipped_model(name: str) -> None:
    """The baseline differs in one patch: the patch gets all of the change, all other pixels 0."""
    case = CASES[name]()
    patch = (slice(None), slice(None), slice(90, 130), slice(40, 80))
    baseline = case.x.copy()
    baseline[patch] = case.black[patch]
    change = case.score()(case.x) - case.score()(baseline)
    assert abs(change) > 0.1
    found = case.attribute("integrated_gradients", baseline=baseline, steps=30)
    inside = np.zeros(found.shape, bool)
    inside[patch[1:]] = True
    assert not found[~inside].any()
    assert found[inside].sum() == pytest.approx(change, abs=0.1 * abs(change))


# --- Sensitivity (b): what the score does not depend on gets none -------------------------------

INPUT_METHODS: list[tuple[str, dict[str, Any]]] = [
    ("gradient", {}),
    ("smoothgrad", {"samples": 3}),
    ("vargrad", {"samples": 3}),
    ("integrated_gradients", IG),
    ("guided_ig", IG),
    ("expected_gradients", {"samples": 3}),
]


@pytest.mark.parametrize(("method", "options"), INPUT_METHODS)
def test_sensitivity_b_on_a_shipped_model(method: str, options: dict[str, Any]) -> None:
    """SqueezeNet with a mask before it: the right half of its input is multiplied by 0."""

    def hide(graph: onnx.GraphProto) -> None:
        curtain = np.ones((1, 1, 1, 227), np.float32)
        curtain[..., 113:] = 0
        graph.initializer.append(numpy_helper.from_array(curtain, "curtain"))
        for node in graph.node:
            node.input[:] = ["seen" if name == "data" else name for name in node.input]
        graph.node.insert(0, helper.make_node("Mul", ["data", "curtain"], ["seen"]))

    case = CASES["squeezenet"]()
    subject = Explainer(changed("squeezenet1_1.onnx", hide))
    if method == "expected_gradients":
        options = options | {"baselines": np.zeros_like(case.x)}
    found = subject.attribute(case.x, method, case.index, **options).values
    assert found[..., :113].any()
    assert not found[..., 113:].any()


# --- Implementation invariance: two nets that are one function ----------------------------------


def test_implementation_invariance_of_two_ways_to_write_a_function() -> None:
    """relu(relu(x₁) − 1 − relu(x₂)) and relu(relu(x₁ − 1) − relu(x₂)): (1.5, −0.5) at (3, 1).

    f(α) is relu(2α − 1): it is positive from α = ½ on, with the gradient (1, −1).
    """
    ways = (
        "r = Relu(x)  d = MatMul(r, SIGNS)  s = Sub(d, ONE)  y = Relu(s)",
        "b = Sub(x, SHIFT)  r = Relu(b)  d = MatMul(r, SIGNS)  y = Relu(d)",
    )
    x = np.array([[3, 1]], np.float32)
    for nodes in ways:
        constants = {"SIGNS": column(1, -1)}
        constants |= {"ONE": np.float32(1)} if "ONE" in nodes else {}
        constants |= {"SHIFT": np.array([1, 0], np.float32)} if "SHIFT" in nodes else {}
        found = of_two(nodes, **constants).attribute(x, "integrated_gradients", 0, **IG).values
        assert_allclose(found, [[1.5, -0.5]], atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("smoothgrad", {"samples": 3}),
        ("integrated_gradients", {"steps": 5}),
        ("blur_ig", {"steps": 5}),
    ],
)
def test_implementation_invariance_on_a_shipped_model(method: str, options: dict[str, Any]) -> None:
    """SqueezeNet with the channels of a layer reordered, its Relu as −min(−x, 0), and scales moved.

    Scaling a layer by 4 and the next by ¼ is exact in floats.
    """

    def rewrite(graph: onnx.GraphProto) -> None:
        weights = {w.name: w for w in graph.initializer}
        first = next(n for n in graph.node if n.name == "fire2/squeeze1x1")
        relu = next(n for n in graph.node if n.input[0] == first.output[0])
        readers = [n for n in graph.node if relu.output[0] in n.input]
        order = np.random.default_rng(0).permutation(16)
        for name, scale in zip(first.input[1:], (4, 4), strict=True):
            replace(weights[name], scale * numpy_helper.to_array(weights[name])[order])
        for reader in readers:
            weight = weights[reader.input[1]]
            replace(weight, numpy_helper.to_array(weight)[:, order] / np.float32(4))
        place = list(graph.node).index(relu)
        graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "nought"))
        graph.node.remove(relu)
        for node in (
            helper.make_node("Neg", ["least"], [relu.output[0]]),
            helper.make_node("Min", ["negated", "nought"], ["least"]),
            helper.make_node("Neg", [first.output[0]], ["negated"]),
        ):
            graph.node.insert(place, node)

    case = CASES["squeezenet"]()
    other = Explainer(changed("squeezenet1_1.onnx", rewrite), preprocess=case.explainer.preprocess)
    found = other.attribute(case.x, method, case.index, **options).values[0]
    expected = case.attribute(method, **options)
    # Rounding may switch a Relu or a MaxPool.
    assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())
    assert np.abs(found - expected).mean() < 1e-3 * np.abs(expected).mean()


def replace(weight: onnx.TensorProto, values: Array) -> None:
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


# --- Completeness -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["net_r", *SHIPPED])
@pytest.mark.parametrize("method", ["integrated_gradients", "blur_ig"])
def test_completeness(name: str, method: str) -> None:
    """The values add up to the change between plain runs at both ends of the path."""
    case = CASES[name]()
    found = case.explainer.attribute(case.x, method, case.index, steps=25, tolerance=0.05)
    diagnostics = found.diagnostics["samples"][0]
    assert "warnings" not in diagnostics
    if method == "integrated_gradients":
        change = case.score()(case.x) - case.score()(case.black)
        assert found.values.sum(dtype=np.float64) == pytest.approx(change, rel=0.051)
        gap = found.values.sum(dtype=np.float64) - change
        assert diagnostics["completeness_gap"] == pytest.approx(gap, abs=1e-4 * abs(change))


# --- Linearity: the values of a weighted sum of scores ------------------------------------------


@pytest.mark.parametrize("name", ["net_r", *SHIPPED])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("smoothgrad", {"samples": 3}),
        ("integrated_gradients", {"steps": 4}),
        ("blur_ig", {"steps": 4}),
        ("expected_gradients", {"samples": 4}),
    ],
)
def test_linearity(name: str, method: str, options: dict[str, Any]) -> None:
    case = CASES[name]()
    if method == "expected_gradients":
        options = options | {"baselines": case.black}
    logits = case.run(case.logit)
    classes, factors = [case.index, (case.index + 1) % logits[0].size], [2.0, -3.0]
    weights = np.zeros(logits[0].size, np.float32)
    weights[classes] = factors

    def values(target: Any) -> Array:
        return case.explainer.attribute(case.x, method, target, **options).values[0]

    expected = sum(f * values(index) for f, index in zip(factors, classes, strict=True))
    assert_allclose(values(Mask(weights)), expected, atol=1e-5 * np.abs(expected).max())


# --- Symmetry: inputs that may be swapped, and are equal in both ends ---------------------------


def test_symmetry_in_closed_form() -> None:
    """f = relu(x₁ + x₂ − 1) · (x₁ + x₂) at (2, 2) from (0, 0): half of f = 12 for each."""
    subject = of_two(
        "s = MatMul(x, SUM)  t = Sub(s, ONE)  r = Relu(t)  y = Mul(r, s)",
        SUM=column(1, 1),
        ONE=np.float32(1),
    )
    x = np.array([[2, 2]], np.float32)
    for method in ("integrated_gradients", "guided_ig"):
        found = subject.attribute(x, method, 0, baseline="zeros", steps=1000).values
        assert found[0, 0] == found[0, 1] == pytest.approx(6, abs=0.02)


@pytest.mark.parametrize(
    ("method", "options"),
    [("gradient", {}), ("integrated_gradients", {"steps": 5}), ("blur_ig", {"steps": 5})],
)
def test_symmetry_on_a_shipped_model(method: str, options: dict[str, Any]) -> None:
    """SqueezeNet of a picture plus SqueezeNet of its mirror image, on a mirrored picture."""
    case = CASES["squeezenet"]()
    both = Explainer(with_mirror(case), preprocess=case.explainer.preprocess)
    x = (case.x + case.x[..., ::-1]) / 2
    found = both.attribute(x, method, case.index, **options).values
    assert np.abs(found).max() > 0
    # Mirrored convolutions add up in another order.
    difference = np.abs(found - found[..., ::-1])
    assert difference.max() < 1e-2 * np.abs(found).max()
    assert difference.mean() < 1e-3 * np.abs(found).mean()
    alone = case.explainer.attribute(x, method, case.index, **options).values
    assert np.abs(alone - alone[..., ::-1]).mean() > 0.1 * np.abs(alone).mean(), "shows nothing"


def with_mirror(case: Case) -> onnx.ModelProto:
    """The logits of the picture plus those of its mirror image."""
    plain = onnx.utils.Extractor(case.model).extract_model([case.input], [case.logit])
    twins = [add_prefix(plain, prefix) for prefix in ("a/", "b/")]
    merged = merge_models(*twins, io_map=[])
    graph = merged.graph
    columns = np.arange(case.x.shape[3])[::-1].copy()
    graph.initializer.append(numpy_helper.from_array(columns, "mirrored"))
    graph.node.insert(
        0, helper.make_node("Gather", ["a/data", "mirrored"], ["b/data"], "mirror", axis=3)
    )
    del graph.input[1]
    del graph.output[1]
    graph.node.append(helper.make_node("Add", ["a/pool10", "b/pool10"], ["sum"], "sum"))
    graph.output[0].name = "sum"
    return merged
