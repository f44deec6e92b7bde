"""Integrated gradients, on scores whose integrals are formulas."""

import json
from typing import Any

import numpy as np
import pytest
from methods.formulas import CUBIC, LINEAR, QUADRATIC, Array, explainer, of_two
from numpy.testing import assert_allclose
from references.paths import along, straight
from tiny import noise

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import BASELINES
from onnxplain.methods import integrated
from onnxplain.methods.quadrature import nodes
from onnxplain.runtime.session import Session
from onnxplain.transforms.builder import PREFIX
from tools.cases.models import CASES

X, ABSENT, W = noise(1, 3, 6, 5), noise(1, 3, 6, 5, seed=2), noise(3, 6, 5, seed=1)
RULES = ["gauss-legendre", *(f"riemann-{n}" for n in ("left", "right", "middle", "trapezoid"))]


@pytest.mark.parametrize("rule", RULES)
def test_a_linear_score_needs_one_look(rule: str) -> None:
    steps = 2 if rule == "riemann-trapezoid" else 1
    found = explainer(LINEAR, W).attribute(
        X, "integrated_gradients", 0, rule=rule, steps=steps, baseline=ABSENT
    )
    assert_allclose(found.values[0], W * (X - ABSENT)[0], rtol=1e-5, atol=1e-6)


# ∫ α dα and ∫ α² dα, by each rule with n points.
MOMENTS: dict[str, tuple[Any, Any]] = {
    "gauss-legendre": (lambda n: 1 / 2, lambda n: 1 / 3),
    "riemann-left": (lambda n: (n - 1) / (2 * n), lambda n: (n - 1) * (2 * n - 1) / (6 * n * n)),
    "riemann-right": (lambda n: (n + 1) / (2 * n), lambda n: (n + 1) * (2 * n + 1) / (6 * n * n)),
    "riemann-middle": (lambda n: 1 / 2, lambda n: 1 / 3 - 1 / (12 * n * n)),
    "riemann-trapezoid": (lambda n: 1 / 2, lambda n: 1 / 3 + 1 / (6 * (n - 1) ** 2)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 5])
def test_rules_integrate_powers_as_the_textbook_says(rule: str, steps: int) -> None:
    first, second = MOMENTS[rule]
    options = {"rule": rule, "steps": steps, "baseline": "zeros"}
    square = explainer(QUADRATIC, W).attribute(X, "integrated_gradients", 0, **options)
    assert_allclose(square.values, 2 * W * X**2 * first(steps), rtol=1e-5, atol=1e-6)
    cube = explainer(CUBIC, W).attribute(X, "integrated_gradients", 0, **options)
    assert_allclose(cube.values, 3 * W * X**3 * second(steps), rtol=1e-5, atol=1e-6)
    gap = cube.values.sum(dtype=np.float64) - (W * X**3).sum(dtype=np.float64)
    reported = cube.diagnostics["samples"][0]["completeness_gap"]
    assert reported == pytest.approx(gap, abs=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_weights_add_up_to_one(rule: Any) -> None:
    places, weights = nodes(rule, 7)
    assert len(places) == 7
    assert weights.sum() == pytest.approx(1)
    assert places.min() >= 0
    assert places.max() <= 1


def net_t_integral() -> Array:
    """Net T from 0: its cells' sums s are 45, 54, 81 and 90, and at α they are α s.

    Channel 1 is active from α = 50/s on, channel 2 from 75/s on. The score adds channel 1 and the
    first cell of channel 2, and subtracts the other cells of channel 2. On [0, 1] the last Relu is
    always active.
    """
    sums = np.array([45, 54, 81, 90])
    first, second = np.maximum(0, 1 - 50 / sums), np.maximum(0, 1 - 75 / sums)
    pull = (first + second * [1, -1, -1, -1]).reshape(2, 2)
    spread = np.zeros((4, 4))
    for row, column in np.ndindex(2, 2):
        spread[row : row + 3, column : column + 3] += pull[row, column]
    return spread * np.arange(16).reshape(4, 4)


def test_net_t_by_hand() -> None:
    case, expected = CASES["net_t"](), net_t_integral()
    assert expected.sum() == pytest.approx(54)
    found = case.attribute("integrated_gradients", baseline="zeros", steps=3000)[0]
    assert_allclose(found, expected, atol=2e-2)
    # Kinks limit every rule: 50 nodes of Gauss-Legendre give 53.33 instead of 54.
    few = case.explainer.attribute(case.x, "integrated_gradients", 0, baseline="zeros")
    assert few.values.sum() == pytest.approx(53.33, abs=0.005)
    assert few.diagnostics["samples"][0] == {
        "forward_passes": 52,
        "backward_passes": 50,
        "steps": 50,
        "completeness_gap": pytest.approx(-0.67, abs=0.005),
    }


def test_tolerance_doubles_the_steps_until_it_is_met() -> None:
    case = CASES["net_t"]()
    call = {"baseline": "zeros", "rule": "riemann-middle"}
    gaps = {}
    for steps in (4, 8, 16, 32, 64, 128):
        found = case.attribute("integrated_gradients", steps=steps, **call)
        gaps[steps] = abs(float(found.sum()) - 54)
    tolerance = 1.01 * min(gaps[4], gaps[8], gaps[16]) / 54
    enough = next(steps for steps, gap in gaps.items() if gap <= tolerance * 54)
    found = case.explainer.attribute(
        case.x, "integrated_gradients", 0, steps=4, tolerance=tolerance, **call
    )
    diagnostics = found.diagnostics["samples"][0]
    assert diagnostics["steps"] == enough > 4
    assert diagnostics["backward_passes"] == 2 * enough - 4
    assert diagnostics["forward_passes"] == 2 + diagnostics["backward_passes"]
    assert abs(diagnostics["completeness_gap"]) <= tolerance * 54
    assert "warnings" not in diagnostics


def test_a_tolerance_that_cannot_be_met_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrated, "MOST_STEPS", 100)
    case = CASES["net_t"]()
    found = case.explainer.attribute(
        case.x, "integrated_gradients", 0, baseline="zeros", tolerance=1e-9
    )
    diagnostics = found.diagnostics["samples"][0]
    assert diagnostics["steps"] == 100
    (sentence,) = diagnostics["warnings"]
    assert sentence.endswith(
        "and the score changes by 54: no more than 100 steps are tried, so loosen the tolerance."
    )


def test_a_large_gap_is_told_and_a_small_one_is_not() -> None:
    subject = explainer(QUADRATIC, np.abs(W))
    # The left rule misses 1/n of the integral of a square.
    for steps, warned in ((19, True), (21, False)):
        found = subject.attribute(
            X, "integrated_gradients", 0, steps=steps, rule="riemann-left", baseline="zeros"
        )
        assert ("warnings" in found.diagnostics["samples"][0]) == warned


@pytest.mark.parametrize("baseline", [*BASELINES, 0.25, "array"])
def test_every_baseline(baseline: Any) -> None:
    """The reported gap is the difference between the values and plain runs at both ends."""
    case = CASES["net_r"]()
    spec = ABSENT[0, 0, 0, 0] if baseline == "array" else baseline
    x = case.x
    uniform = x.min() + (x.max() - x.min()) * np.random.default_rng(0).random(x.shape, np.float32)
    mean, std = (np.reshape(v, (1, 3, 1, 1)) for v in ((120, 110, 100), (50, 60, 70)))
    known = {
        "black": -mean / std,
        "white": (255 - mean) / std,
        "gray": (127.5 - mean) / std,
        "mean": x.mean(axis=(2, 3), keepdims=True),
        "zeros": 0,
        "uniform": uniform,
        "array": ABSENT[0, 0, 0, 0],
    }
    start = np.broadcast_to(known.get(baseline, baseline if baseline != "blur" else 0), x.shape)
    found = case.explainer.attribute(
        x, "integrated_gradients", case.index, baseline=spec, steps=400, rule="riemann-middle"
    )
    change = case.score()(x) - case.score()(start.astype(np.float32))
    reported = found.diagnostics["samples"][0]["completeness_gap"]
    if baseline != "blur":
        assert found.values.sum() - change == pytest.approx(reported, abs=1e-3)
    assert abs(reported) < 0.02 * np.abs(found.values).sum()


def test_trials_are_the_mean_over_random_baselines() -> None:
    subject = explainer(QUADRATIC, W)
    draws = [np.random.default_rng(5 + t).random(X.shape, np.float32) for t in range(3)]
    starts = X.min() + (X.max() - X.min()) * np.stack(draws)
    expected = (W * (X**2 - starts**2)).mean(axis=0)
    found = subject.attribute(
        X, "integrated_gradients", 0, baseline="uniform", trials=3, seed=5, steps=2
    )
    assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    diagnostics = found.diagnostics["samples"][0]
    assert diagnostics["backward_passes"] == 6
    assert diagnostics["forward_passes"] == 1 + 3 + 6
    assert abs(diagnostics["completeness_gap"]) < 1e-4


def test_it_is_the_literal_sum_on_a_network() -> None:
    case = CASES["net_r"]()
    start = noise(*case.x.shape, seed=8)

    def gradient(point: Array) -> Array:
        at = point.astype(np.float32)
        return case.explainer.attribute(at, "gradient", case.index).values.astype(np.float64)

    wide = case.x.astype(np.float64), start.astype(np.float64)
    expected = along(straight(*wide, pieces=20), gradient)[0]
    found = case.attribute("integrated_gradients", baseline=start, steps=20, rule="riemann-middle")
    assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_only_the_shares_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the sample and the baseline are placed, a batch feeds its α and its seed."""
    sent: list[dict[str, Array]] = []
    plain = Session.run

    def spied(self: Session, feeds: Any, outputs: Any) -> Any:
        sent.append({name: value for name, value in feeds.items() if hasattr(value, "nbytes")})
        return plain(self, feeds, outputs)

    subject = explainer(QUADRATIC, W, batch_size=5)
    subject.attribute(X, "integrated_gradients", 0, baseline="zeros")
    monkeypatch.setattr(Session, "run", spied)
    subject.attribute(X, "integrated_gradients", 0, baseline="zeros", steps=20)
    batches = [feeds for feeds in sent if PREFIX + "share" in feeds]
    assert len(batches) == 4
    for feeds in batches:
        assert feeds[PREFIX + "share"].shape == (5, 1, 1, 1)
        assert sum(value.size for value in feeds.values() if value.size < W.size) == 10


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"steps": 1, "rule": "riemann-trapezoid"}, ">= 2 with riemann-trapezoid"),
        ({"tolerance": 0}, "tolerance > 0"),
        ({"rule": "simpson"}, "gauss-legendre, riemann-left"),
        ({"trials": 0}, "trials >= 1"),
        ({"trials": 2}, "baseline uniform, or one trial"),
        ({"baseline": "black"}, "no black, gray or white"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        of_two("y = MatMul(x, W)", W=np.ones((2, 1), np.float32)).attribute(
            np.ones((1, 2), np.float32), "integrated_gradients", 0, **options
        )


def test_diagnostics_of_each_target_reach_its_manifest(tmp_path: Any) -> None:
    case = CASES["net_r"]()
    picture = np.random.default_rng(0).integers(0, 255, (20, 26, 3), np.uint8)
    found = case.explainer.explain_each(picture, "integrated_gradients", [0, 3], steps=4)
    gaps = [one.diagnostics["completeness_gap"] for one in found]
    assert gaps[0] != gaps[1]
    for one, gap in zip(found, gaps, strict=True):
        assert one.diagnostics["backward_passes"] == 8
        files = one.save(tmp_path, ["json"])
        assert json.loads(files[0].read_text())["diagnostics"]["completeness_gap"] == gap
