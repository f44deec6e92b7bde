"""Sensitivity, localization, complexity, randomization, axioms, information: closed forms."""

from pathlib import Path

import numpy as np
import pytest
from metric_nets import linear, two_classes
from scipy.stats import entropy
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import MapError, ModelError, OptionError
from onnxplain.metrics.complexity import Complexity, EffectiveComplexity, Sparseness
from onnxplain.metrics.information import interpolated, monotonic_area, webp_size
from onnxplain.metrics.judged import Case
from onnxplain.metrics.localization import (
    IoU,
    PointingGame,
    RelevanceMassAccuracy,
    RelevanceRankAccuracy,
)
from onnxplain.metrics.registry import METRICS, make_metric, option_from_text
from onnxplain.metrics.sensitivity import MaxSensitivity

MODELS = Path(__file__).parents[2] / "models"


def square_case(x):
    """f = Σ x² / 2, whose gradient is x."""
    sizes = ",".join(map(str, x.shape[1:]))
    model = tiny(
        "f = Flatten(x)  s = Mul(f, f)  y = MatMul(s, H)",
        f"float[N,{sizes}] x",
        "float[N,1] y",
        H=np.full((x[0].size, 1), 0.5, np.float32),
    )
    return Case.of(Explainer(model, provider="cpu"), x)


def test_sensitivity_of_a_linear_gradient_is_0_and_of_x_the_size_of_the_change() -> None:
    x = noise(1, 1, 5, 5)
    flat = linear(noise(25, seed=1), x).explained("gradient")
    assert make_metric("max_sensitivity").measure(flat).value == 0
    metric = MaxSensitivity(nr_samples=6, perturb_radius=0.1, seed=3)
    moved = metric.copies(x) - x
    sizes = np.linalg.norm(moved.reshape(6, -1), axis=1) / np.linalg.norm(x)
    case = square_case(x)
    found = metric.measure(case.explained("gradient"))
    assert found.value == pytest.approx(sizes.max(), rel=1e-4)
    assert found.details["mean"] == pytest.approx(sizes.mean(), rel=1e-4)
    assert np.abs(moved).max() <= 0.1 * np.ptp(x) * (1 + 1e-6)
    assert case.spent["forward_passes"] == case.spent["backward_passes"] == 6


def test_a_given_map_cannot_be_made_again() -> None:
    judged = linear(noise(25), noise(1, 1, 5, 5)).of_heat("given", noise(5, 5))
    for name in ("max_sensitivity", "mprt", "random_logit", "completeness"):
        with pytest.raises(OptionError, match=r"given.*again|is for classes"):
            make_metric(name).measure(judged)


@pytest.mark.parametrize(
    ("values", "gini", "nats", "count"),
    [
        ([0, 0, 0, 5], 0.75, 0.0, 1),
        ([2, 2, 2, 2], 0.0, np.log(4), 4),
        ([1, 2, 3, 4], 0.25, entropy([1, 2, 3, 4]), 4),
    ],
)
def test_how_few_places_carry_a_map(values, gini, nats, count) -> None:
    sizes = np.array(values, np.float64)
    assert Sparseness().of(sizes) == pytest.approx(gini)
    assert Complexity().of(sizes) == pytest.approx(nats)
    assert EffectiveComplexity().of(sizes) == count
    assert EffectiveComplexity(eps=0.6).of(np.array([1.0, 2, 3, 4])) == 2


def test_complexity_is_of_absolute_values_and_not_of_a_map_of_zeros() -> None:
    case = linear(noise(4), noise(1, 1, 2, 2))
    signed = case.of_heat("given", np.array([[-1, 2], [-3, 4]]))
    assert make_metric("sparseness").measure(signed).value == pytest.approx(0.25)
    with pytest.raises(MapError, match="zero everywhere"):
        make_metric("sparseness").measure(case.of_heat("given", np.zeros((2, 2))))


HEAT = np.array([0.0, 1, 2, 3, 4, 5, 5, 5])


@pytest.mark.parametrize(
    ("inside", "pointing", "mass", "rank", "iou"),
    [
        ([0, 0, 0, 0, 0, 1, 1, 1], 1, 15 / 25, 1, 1),
        ([1, 1, 1, 0, 0, 0, 0, 0], 0, 3 / 25, 0, 0),
        ([0, 0, 0, 0, 0, 0, 0, 1], 1, 5 / 25, 1 / 3, 1 / 3),
        ([0, 0, 0, 1, 1, 1, 1, 0], 1, 17 / 25, 3 / 4 + 0 - 0.0, 2 / 5),
    ],
)
def test_localization_by_hand(inside, pointing, mass, rank, iou) -> None:
    """The three largest of eight values are equal; 0.7 is a quantile between 4 and 5."""
    region = np.array(inside, bool)
    assert PointingGame().of(HEAT, region) == pointing
    assert RelevanceMassAccuracy().of(HEAT, region) == pytest.approx(mass)
    assert RelevanceRankAccuracy().of(HEAT, region) == pytest.approx(rank)
    assert IoU(quantile=0.7).of(HEAT, region) == pytest.approx(iou)


def test_only_pixels_that_the_model_saw_count_and_a_region_must_be_known() -> None:
    crop = {"fit": "crop"}
    explainer = Explainer(MODELS / "squeezenet1_1.onnx", provider="cpu", preprocess=crop)
    picture = np.random.default_rng(0).integers(0, 255, (100, 300, 3)).astype(np.uint8)
    inside = np.zeros((100, 300), bool)
    inside[:, :20] = True  # cropped away
    judged = Case.of(explainer, picture, "285", inside).explained("gradcam")
    with pytest.raises(MapError, match="nothing of what the model saw"):
        make_metric("iou").measure(judged)
    with pytest.raises(OptionError, match="name its annotations with --annotations"):
        make_metric("iou").measure(Case.of(explainer, picture, "285").explained("gradcam"))
    with pytest.raises(OptionError, match=r"the shape \(4, 4\)"):
        make_metric("iou").measure(
            Case.of(explainer, picture, "285", np.ones((4, 4), bool)).explained("gradcam")
        )


def test_values_that_add_up_have_no_gap() -> None:
    case = linear(noise(16, seed=1), noise(1, 1, 4, 4))
    zeros = {"perturb_baseline": "zeros"}
    exact = case.explained("integrated_gradients", baseline="zeros")
    assert make_metric("completeness", zeros).measure(exact).value < 1e-5
    assert make_metric("conservation").measure(case.explained("input_x_gradient")).value < 1e-5
    # Against another baseline, the values miss its score.
    ones = {"perturb_baseline": 1.0}
    total, absent = case.score("logit"), float(noise(16, seed=1).sum())
    gap = abs(absent / (total - absent))
    assert make_metric("completeness", ones).measure(exact).value == pytest.approx(gap, rel=1e-4)
    with pytest.raises(OptionError, match="The values of gradient are not parts of a score"):
        make_metric("conservation").measure(case.explained("gradient"))


def test_another_class_has_another_map() -> None:
    w = noise(16, seed=1)
    for sign in (1, -1):
        case = two_classes(w, sign * w, noise(1, 1, 4, 4))
        found = make_metric("random_logit").measure(case.explained("input_x_gradient"))
        assert found.value == pytest.approx(sign)
        assert found.details["other_class"] == 1
    one = linear(w, noise(1, 1, 4, 4))
    with pytest.raises(OptionError, match="it is for classes of a classifier"):
        make_metric("random_logit").measure(one.explained("gradient"))


def test_randomization_forgets_the_weights_of_a_linear_model() -> None:
    """One layer: the map of the model with shuffled weights is that of other weights."""
    x, w = noise(1, 1, 6, 6), noise(36, seed=1)
    judged = linear(w, x).explained("gradient")
    found = make_metric("mprt", {"similarity_func": "pearson"}).measure(judged)
    assert found.details["layers"] == [1]
    assert abs(found.value) < 0.6
    same = linear(np.ones(36), x).explained("input_x_gradient")
    for name in ("mprt", "smooth_mprt"):  # equal weights do not change in another order
        assert make_metric(name).measure(same).value == pytest.approx(1, abs=1e-6)
    assert make_metric("efficient_mprt").measure(same).value == pytest.approx(0, abs=1e-9)


def test_a_model_without_weights_has_nothing_to_forget() -> None:
    explainer = Explainer(tiny("p = GlobalAveragePool(x)  y = Flatten(p)"), provider="cpu")
    judged = Case.of(explainer, noise(1, 3, 8, 8), "0").explained("input_x_gradient")
    with pytest.raises(ModelError, match="has weights to shuffle"):
        make_metric("mprt").measure(judged)


def test_information_curves_are_interpolated_linearly_and_monotonic() -> None:
    """By hand: points (0, 0), (0.5, 0.8), (0.75, 0.8), (1, 1), although the third fell to 0.4."""
    x, y = np.array([0, 0.5, 0.75, 1]), np.array([0, 0.8, 0.4, 1])
    by_hand = 0.5 * 0.4 + 0.25 * 0.8 + 0.25 * 0.9
    assert monotonic_area(x, y) == pytest.approx(by_hand, abs=1e-9)
    ramp = np.add.outer(np.arange(5.0), 3 * np.arange(6.0))[..., None]
    found = interpolated(ramp, np.zeros((5, 6), bool), "sic")
    np.testing.assert_allclose(found, ramp, atol=1e-9)
    flat = np.zeros((64, 64, 3), np.uint8)
    busy = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    assert 100 * webp_size(flat) < webp_size(busy)


def test_options_are_declared_once_and_read_from_text() -> None:
    assert make_metric("road", {"percentages": "5,50"}).percentages == (5.0, 50.0)
    assert option_from_text("deletion", "steps", "20") == 20
    assert option_from_text("infidelity", "normalise", "false") is False
    with pytest.raises(OptionError, match="takes a whole number as steps, not 'x'"):
        option_from_text("deletion", "steps", "x")
    with pytest.raises(OptionError, match="deletion has no option 'window'; its own are steps"):
        option_from_text("deletion", "window", "3")
    with pytest.raises(OptionError, match=r"There is no metric 'delete'.*deletion"):
        make_metric("delete")
    with pytest.raises(OptionError, match="road takes numbers"):
        make_metric("road", {"percentages": "a"})


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name) -> None:
    metric = make_metric(name)
    assert metric.name == name
    for words in (metric.summary, metric.paper, metric.cost, metric.misleads):
        assert words
        assert not words.endswith(".")
    assert metric.better in ("higher", "lower", "neither")
    assert "Cost:" in (type(metric).__doc__ or "")


def test_boxes_of_a_detector_are_judged() -> None:
    """Their target reads other tensors than the scores, and is scored by IoU in changed copies."""
    explainer = Explainer(MODELS / "digit_detector.onnx", provider="cpu")
    case = Case.of(explainer, MODELS / "detector_scenes" / "five.png")
    box = case.target.described.boxes[0]
    case_inside = np.zeros(case.taken.picture.shape[:2], bool)
    rows = slice(int(box.y), int(box.y + box.height))
    case_inside[rows, int(box.x) : int(box.x + box.width)] = True
    judged = Case.of(
        explainer, MODELS / "detector_scenes" / "five.png", inside=case_inside
    ).explained("hirescam")
    assert make_metric("pointing_game").measure(judged).value == 1
    found = make_metric("deletion", {"steps": 10}).measure(judged)
    assert found.details["scores"][0] == pytest.approx(judged.explanation.score, rel=1e-3)
    assert found.details["scores"][-1] < 0.1
