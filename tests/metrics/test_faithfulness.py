"""Deletion, insertion, average drop, ROAD and infidelity against closed forms."""

import numpy as np
import pytest
from metric_nets import SQUARE, linear, total, two_classes
from tiny import noise

from onnxplain.errors import MapError, OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.methods.smoothgrad import noisy
from onnxplain.metrics.faithfulness import ranks, shares_of
from onnxplain.metrics.imputation import _STENCIL, imputed
from onnxplain.metrics.registry import make_metric

ZEROS = {"perturb_baseline": "zeros"}


def measured(case, name, heat, **options):
    return make_metric(name, options).measure(case.of_heat("given", heat))


@pytest.mark.parametrize(
    ("name", "order", "scores", "area"),
    [
        ("deletion", "morf", [1, 0.3, 0], 0.4),
        ("deletion", "lerf", [1, 0.7, 0], 0.6),
        ("insertion", "morf", [0, 0.7, 1], 0.6),
        ("insertion", "lerf", [0, 0.3, 1], 0.4),
    ],
)
def test_curves_of_a_sum(name, order, scores, area) -> None:
    """f = Σx, by hand: two places of four at each step, most relevant first or last."""
    found = measured(total(), name, SQUARE[0, 0], steps=2, order=order, **ZEROS)
    np.testing.assert_allclose(found.details["scores"], scores, atol=1e-6)
    assert found.details["shares"] == [0, 0.5, 1]
    assert found.value == pytest.approx(area, abs=1e-6)


def test_a_curve_of_a_linear_model_is_a_sum_of_sorted_parts() -> None:
    """On f = w·x and the map w ⊙ x, deletion is f − the sum of the k largest parts."""
    x, w = noise(1, 1, 5, 7, seed=1), noise(35, seed=2)
    parts = w * x.ravel()
    found = measured(linear(w, x), "deletion", parts.reshape(5, 7), steps=35, **ZEROS)
    expected = parts.sum() - np.append(0, np.cumsum(np.sort(parts)[::-1]))
    np.testing.assert_allclose(found.details["scores"], expected, atol=1e-5)


def test_equal_values_are_in_row_major_order_and_steps_end_at_all_places() -> None:
    assert ranks(np.array([[1.0, 2.0], [2.0, 1.0]]), "morf").tolist() == [[2, 0], [1, 3]]
    assert ranks(np.array([[1.0, 2.0], [2.0, 1.0]]), "lerf").tolist() == [[0, 2], [3, 1]]
    changed, shares = shares_of(10, 4)
    assert changed.tolist() == [0, 2, 5, 8, 10]
    assert shares[-1] == 1
    assert len(shares_of(3, 50)[0]) == 4


@pytest.mark.parametrize("name", ["deletion", "insertion", "infidelity"])
def test_results_do_not_depend_on_the_batch(name) -> None:
    x, w = noise(1, 2, 6, 5), noise(60, seed=1)
    found = {
        measured(linear(w, x, batch_size=size), name, noise(6, 5, seed=2), **ZEROS).value
        for size in (1, 3, 100)
    }
    assert max(found) - min(found) <= 1e-6 * max(map(abs, found))


def test_what_the_map_shows_is_a_blend_with_the_baseline() -> None:
    """y = Σx = 1; the map scaled to [0, 1] shows o = Σ H x = 0.4 + 2/3·0.3 + 1/3·0.2."""
    o = 0.4 + 0.2 + 0.2 / 3
    case, heat = total(), 5 * SQUARE[0, 0] - 7
    assert measured(case, "average_drop", heat, **ZEROS).value == pytest.approx(1 - o, abs=1e-6)
    assert measured(case, "increase", heat, **ZEROS).value == 0
    low = total(0.5 * SQUARE)
    # White in place of what is not shown adds 1 − H of ones: o = 0.5 o + (4 − ΣH).
    gained = measured(low, "average_gain", heat, perturb_baseline=1.0)
    bright = 0.5 * o + 4 - (1 + 2 / 3 + 1 / 3)
    assert gained.value == pytest.approx((bright - 0.5) / 0.5, abs=1e-5)
    assert measured(low, "increase", heat, perturb_baseline=1.0).value == 1


def test_a_score_without_a_share_and_a_map_without_an_order_are_refused() -> None:
    with pytest.raises(MapError, match="average_drop divides by the score, which is -1 here"):
        measured(total(-SQUARE), "average_drop", SQUARE[0, 0], **ZEROS)
    with pytest.raises(MapError, match="the same everywhere"):
        measured(total(), "average_drop", np.ones((2, 2)))
    with pytest.raises(OptionError, match="deletion takes steps >= 1"):
        measured(total(), "deletion", SQUARE[0, 0], steps=0)
    with pytest.raises(MapError, match=r"shape \(3, 2\), and the input has \(2, 2\) places"):
        total().of_heat("given", np.ones((3, 2)))


def test_imputation_solves_the_system_of_the_paper() -> None:
    """Against a dense solution in float64, pixel by pixel, with neighbors outside left out."""
    picture, removed = noise(5, 6, 2).astype(np.float64), noise(5, 6, seed=1) > -0.5
    places = [tuple(place) for place in np.argwhere(removed)]
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), 2))
    for i, (row, column) in enumerate(places):
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                other, weight = (row + down, column + across), _STENCIL[1 + down, 1 + across]
                if not (0 <= other[0] < 5 and 0 <= other[1] < 6):
                    continue
                matrix[i, i] += weight
                if removed[other]:
                    matrix[i, places.index(other)] -= weight
                else:
                    right[i] += weight * picture[other]
    found = imputed(picture, removed)
    np.testing.assert_allclose(found[removed], np.linalg.solve(matrix, right), atol=1e-12)
    np.testing.assert_array_equal(found[~removed], picture[~removed])


def test_a_ramp_is_imputed_without_a_loss() -> None:
    """Each pixel of a ramp is the mean of its neighbors; so deletion inside it loses nothing."""
    ramp = np.add.outer(np.arange(8.0), 2 * np.arange(9.0))[..., None]
    removed = np.zeros((8, 9), bool)
    removed[2:6, 1:8] = True
    np.testing.assert_allclose(imputed(ramp, removed), ramp, atol=1e-12)
    everything = imputed(ramp, np.ones((8, 9), bool))
    np.testing.assert_allclose(everything, np.full_like(ramp, ramp.mean()))


def test_road_of_a_sum() -> None:
    """Removing nothing leaves the score, and removing all gives the mean color everywhere."""
    x = noise(1, 1, 4, 4)
    options = {"percentages": [0, 100], "noise": 0}
    found = measured(total(x), "road", noise(4, 4, seed=1), order="morf", **options)
    np.testing.assert_allclose(found.details["morf"], [x.sum(), x.sum()], atol=1e-5)
    both = measured(total(x), "road", noise(4, 4, seed=1), percentages="25,50", noise=0)
    lerf, morf = (np.mean(both.details[order]) for order in ("lerf", "morf"))
    assert both.value == pytest.approx((lerf - morf) / 2)
    with pytest.raises(OptionError, match="road takes percentages between 0 and 100"):
        measured(total(x), "road", noise(4, 4), percentages=[101])


@pytest.mark.parametrize("func", ["baseline", "noise"])
def test_the_gradient_of_a_linear_model_tells_every_change(func) -> None:
    """Iᵀ∇f = f(x) − f(x − I), so infidelity is 0; twice the gradient is off by Iᵀ∇f."""
    x, w = noise(1, 2, 6, 6), noise(72, seed=1)
    case = linear(w, x)
    plain = {"perturb_func": func, "normalise": False, **ZEROS}
    exact = make_metric("infidelity", plain).measure(case.explained("gradient"))
    assert exact.value < 1e-9
    scaled = make_metric("infidelity", {**plain, "normalise": True})
    assert scaled.measure(case.explained("gradient")).details["scale"] == pytest.approx(1, 1e-4)


def test_infidelity_of_noise_is_the_mean_square_of_the_definition() -> None:
    x, w, phi = noise(1, 1, 4, 4), noise(16, seed=1), noise(4, 4, seed=2)
    options = {"perturb_func": "noise", "normalise": False, "n_perturb_samples": 30}
    found = measured(linear(w, x), "infidelity", phi, **options)
    copies = noisy(Scene(x, 1, (2, 3), None), 0.05, 30, 0).make(slice(0, 30)).astype(np.float64)
    change = (x - copies).reshape(30, 16)
    expected = np.mean((change @ phi.ravel() - change @ w) ** 2)
    assert found.value == pytest.approx(expected, rel=1e-4)


def test_parts_of_the_score_are_added_up_in_a_window() -> None:
    """w ⊙ x are the parts of a linear score, so removing a window takes exactly its sum."""
    x, w = noise(1, 2, 6, 6), noise(72, seed=1)
    options = {"normalise": False, **ZEROS}
    judged = linear(w, x).explained("input_x_gradient")
    assert make_metric("infidelity", options).measure(judged).value < 1e-9


def test_a_class_is_scored_by_its_probability() -> None:
    x = noise(1, 1, 3, 3)
    case = two_classes(noise(9, seed=1), noise(9, seed=2), x)
    logits = [float(noise(9, seed=s) @ x.ravel()) for s in (1, 2)]
    probability = 1 / (1 + np.exp(logits[1] - logits[0]))
    found = measured(case, "deletion", noise(3, 3), steps=3, **ZEROS)
    assert found.details["scores"][0] == pytest.approx(probability, abs=1e-6)
    assert found.details["scores"][-1] == pytest.approx(0.5, abs=1e-6)
