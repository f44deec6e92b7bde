"""The references give the maps that can be computed by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tools.cases import nets
from tools.cases.onnx_calls import element, part, probability

from .layer import (
    ablationcam,
    ablationcam_weights,
    cam,
    eigencam,
    gap_logit,
    gmp_logit,
    keep_cell,
    orient,
    reciprocam,
    spread_cell,
    window_cell,
)
from .perturbation import (
    occlusion,
    rise,
    rise_expectation_linear,
    rise_masks,
    rise_second_moment,
    scorecam,
    scorecam_increases,
    scorecam_mask,
    window_starts,
)
from .resize import interpolation_matrix, upsample_align_corners, upsample_half_pixel

Array = NDArray[Any]
LAYERS = sorted(nets.NET_T_ACTIVATIONS)


@pytest.fixture(scope="module")
def net_t_score() -> Callable[[Array], float]:
    return element(part(nets.net_t(), "x", "y"), 0)


def net_t_head(layer: str) -> Callable[[Array], float]:
    return element(part(nets.net_t(), layer, "y"), 0)


# --- resize -------------------------------------------------------------------------------------


def test_half_pixel_weights_of_two_to_four() -> None:
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert_array_equal(interpolation_matrix(2, 4), expected)


@pytest.mark.parametrize("size", [(14, 14), (15, 20), (3, 4), (5, 7)])
def test_half_pixel_upsampling_is_scipys_linear_spline(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(size=(5, 7))
    grid = [(np.arange(out) + 0.5) * n / out - 0.5 for n, out in zip((5, 7), size, strict=True)]
    expected = map_coordinates(image, np.meshgrid(*grid, indexing="ij"), order=1, mode="nearest")
    assert_allclose(upsample_half_pixel(image, size), expected, atol=1e-12)


def test_align_corners_keeps_the_corners_and_spreads_the_rest_evenly() -> None:
    assert_allclose(upsample_align_corners(np.array([[0.0, 3]]), (1, 4)), [[0, 1, 2, 3]])


# --- the nets -----------------------------------------------------------------------------------


def test_net_t_computes_what_its_docstring_says() -> None:
    net = nets.net_t()
    for layer, activation in nets.NET_T_ACTIVATIONS.items():
        assert_array_equal(part(net, "x", layer)(nets.NET_T_INPUT)[0], activation)
    assert_array_equal(part(net, "x", "y")(nets.NET_T_INPUT), [[nets.NET_T_SCORE] * 4])


@pytest.mark.parametrize("pooling", sorted(nets.NET_P_LOGITS))
def test_net_p_computes_what_its_docstring_says(pooling: str) -> None:
    assert_allclose(
        part(nets.net_p(pooling), "x", "y")(nets.NET_P_INPUT)[0], nets.NET_P_LOGITS[pooling]
    )


# --- Score-CAM ----------------------------------------------------------------------------------


def test_scorecam_by_hand() -> None:
    # Masks (0, .25, .75, 1), (1, .75, .25, 0) and 0. The score is ln 2 times the first pixel, which
    # is 3 in x and 2 in the baseline: increases 0, ln 2, 0; softmax 1/4, 1/2, 1/4.
    activation = np.array([[[0.0, 1]], [[-20, -40]], [[8, 8]]])
    x = np.full((1, 1, 1, 4), 3, np.float32)
    baseline = np.full_like(x, 2)

    def score(value: Array) -> float:
        return float(np.log(2) * value[0, 0, 0, 0])

    assert_allclose(scorecam_increases(activation, x, baseline, score), [0, np.log(2), 0])
    # 1/4 (0, 1) + 1/2 (-20, -40) + 1/4 (8, 8) = (-8, -17.75), rectified. With the second channel
    # 100 higher the masks are as before and the map is (42, 32.25).
    assert_array_equal(scorecam(activation, x, baseline, score), [[0, 0]])
    higher = activation + np.array([0, 100, 0])[:, None, None]
    assert_allclose(scorecam(higher, x, baseline, score), [[42, 32.25]])


@pytest.mark.parametrize("layer", LAYERS)
def test_scorecam_of_a_constant_probability_is_the_mean_of_the_channels(layer: str) -> None:
    score = probability(part(nets.net_t(), "x", "y"), 0)
    found = scorecam(
        nets.NET_T_ACTIVATIONS[layer], nets.NET_T_INPUT, np.zeros_like(nets.NET_T_INPUT), score
    )
    assert_allclose(found, nets.NET_T_SCORECAM_PROBABILITY[layer], atol=1e-12)


def test_a_constant_channel_masks_everything_despite_rounding() -> None:
    assert_array_equal(scorecam_mask(np.full((7, 7), 0.1), (224, 224)), np.zeros((224, 224)))


# --- occlusion ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "stride", "expected"),
    [(2, 2, nets.NET_T_OCCLUSION_2_2), (3, 2, nets.NET_T_OCCLUSION_3_2)],
)
def test_occlusion_of_net_t(
    net_t_score: Callable[[Array], float], window: int, stride: int, expected: Array
) -> None:
    x = nets.NET_T_INPUT
    sizes, steps = (1, window, window), (1, stride, stride)
    found = occlusion(x, net_t_score, sizes, steps, np.zeros_like(x))
    assert_allclose(found[0, 0], expected)


def test_occlusion_of_a_linear_score_by_single_elements_is_weight_times_change() -> None:
    rng = np.random.default_rng(1)
    x, fill, weights = rng.normal(size=(3, 1, 2, 3, 4)).astype(np.float32)
    found = occlusion(x, lambda v: float((weights * v).sum()), (1, 1, 1), (1, 1, 1), fill)
    assert_allclose(found, weights * (x - fill), atol=1e-5)


def test_occlusion_works_on_any_rank_and_clips_the_last_window() -> None:
    # Windows (0, 1, 2) and (2, 3): the score, a sum, falls by 6 and by 7; element 2 is in both.
    x = np.array([[1, 2, 3, 4]], np.float32)
    found = occlusion(x, lambda v: float(v.sum()), (3,), (2,), np.zeros_like(x))
    assert_allclose(found, [[6, 6, 6.5, 7]])


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [(4, 3, 2, [0, 2]), (5, 4, 1, [0, 1]), (6, 6, 3, [0]), (2, 5, 1, [0]), (7, 2, 2, [0, 2, 4, 6])],
)
def test_windows_stop_once_the_end_is_covered(
    length: int, window: int, stride: int, starts: list[int]
) -> None:
    assert window_starts(length, window, stride) == starts


def test_occlusion_refuses_a_stride_that_skips_elements() -> None:
    x = np.zeros((1, 5), np.float32)
    with pytest.raises(ValueError, match="uncovered"):
        occlusion(x, lambda v: 0.0, (2,), (3,), x)


# --- RISE ---------------------------------------------------------------------------------------


def linear_case() -> tuple[Array, Array, Array, float]:
    rng = np.random.default_rng(2)
    gradient, x, baseline = rng.normal(size=(3, 1, 2, 6, 9)).astype(np.float32)
    return gradient, x, baseline, 0.7


def test_rise_by_hand() -> None:
    # Masks (1, 0) and (1, 1/2), x = (2, 4), x' = (0, 2), S = sum: scores 4 and 5, p = 1/2.
    x, baseline = (np.array([[[row]]], np.float32) for row in ([2, 4], [0, 2]))
    masks = np.array([[[1, 0]], [[1, 0.5]]])
    assert_allclose(rise(x, baseline, lambda v: float(v.sum()), masks, 0.5), [[9, 2.5]])


def test_rise_of_a_linear_score_follows_from_the_moments_of_its_masks() -> None:
    gradient, x, baseline, bias = linear_case()
    masks = rise_masks(40, 3, 0.4, (6, 9), np.random.default_rng(3))
    flat = masks.reshape(40, -1)

    def score(value: Array) -> float:
        return float((gradient * value.astype(np.float64)).sum() + bias)

    expected = rise_expectation_linear(
        gradient,
        x,
        baseline,
        score_of_baseline=score(baseline),
        mean=masks.mean(axis=0),
        second_moment=flat.T @ flat / 40,
        p=0.4,
    )
    assert_allclose(rise(x, baseline, score, masks, 0.4), expected, rtol=1e-5)


def test_the_moments_of_the_masks_are_the_closed_form() -> None:
    size, cells, p, count = (6, 9), 3, 0.4, 20_000
    flat = rise_masks(count, cells, p, size, np.random.default_rng(4)).reshape(count, -1)
    moment = flat.T @ flat / count
    variance = (flat**2).T @ flat**2 / count - moment**2
    standard_error = np.sqrt(variance / count)
    # 54 * 55 / 2 different moments: the largest of so many normal deviates stays below 5.
    assert np.abs((moment - rise_second_moment(size, cells, p)) / standard_error).max() < 5
    assert abs(flat.mean() - p) < 0.005
    # The test would detect masks with one more cell per axis.
    assert np.abs((moment - rise_second_moment(size, cells + 1, p)) / standard_error).max() > 10


def test_rise_tends_to_its_expectation_on_a_linear_score() -> None:
    gradient, x, baseline, bias = linear_case()
    size, cells, p, count = (6, 9), 3, 0.4, 4000
    masks = rise_masks(count, cells, p, size, np.random.default_rng(5))

    def score(value: Array) -> float:
        return float((gradient * value).sum() + bias)

    terms = np.array([rise(x, baseline, score, mask[None], p) for mask in masks])
    expected = rise_expectation_linear(
        gradient,
        x,
        baseline,
        score_of_baseline=score(baseline),
        mean=np.full(size, p),
        second_moment=rise_second_moment(size, cells, p),
        p=p,
    )
    deviation = (terms.mean(axis=0) - expected) / (terms.std(axis=0) / np.sqrt(count))
    assert np.abs(deviation).max() < 4.5


# --- maps from a layer --------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_ablationcam_of_net_t(layer: str) -> None:
    activation, head = nets.NET_T_ACTIVATIONS[layer], net_t_head(layer)
    assert_allclose(ablationcam_weights(activation, head), nets.NET_T_ABLATION_WEIGHTS)
    assert_allclose(ablationcam(activation, head), nets.NET_T_ABLATIONCAM[layer])


def test_ablationcam_rectifies() -> None:
    # S = 2 mean(a) - mean(b) = 4 - 5 = -1.
    activation = np.array([[[1.0, 3]], [[9, 1]]])

    def head(value: Array) -> float:
        return float(2 * value[0, 0].mean() - value[0, 1].mean())

    # Without a: -5, w = (-1 + 5) / -1 = -4. Without b: 4, w = (-1 - 4) / -1 = 5.
    assert_allclose(ablationcam_weights(activation, head), [-4, 5])
    assert_allclose(ablationcam(activation, head), [[41, 0]])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("isolate", "expected"),
    [
        (keep_cell, nets.NET_T_RECIPROCAM),
        (spread_cell, nets.NET_T_RECIPROCAM_SPREAD),
        (window_cell, nets.NET_T_RECIPROCAM_WINDOW),
    ],
)
def test_reciprocam_of_net_t(layer: str, isolate: Callable[..., Array], expected: Array) -> None:
    found = reciprocam(nets.NET_T_ACTIVATIONS[layer], net_t_head(layer), isolate)
    assert_allclose(found, expected, rtol=1e-6)


def test_the_gaussian_is_whole_inside_the_grid_and_cut_off_at_its_border() -> None:
    ones = np.ones((1, 3, 4))
    inside = np.array([[1, 2, 1, 0], [2, 4, 2, 0], [1, 2, 1, 0]]) / 16
    corner = np.array([[0, 0, 2, 4], [0, 0, 1, 2], [0, 0, 0, 0]]) / 16
    for isolate in (spread_cell, window_cell):
        assert_array_equal(isolate(ones, 1, 1)[0], inside)
        assert_array_equal(isolate(ones, 0, 3)[0], corner)


@pytest.mark.parametrize("index", range(3))
def test_reciprocam_of_a_logit_behind_average_pooling_is_cam(index: int) -> None:
    net = nets.net_p("GlobalAveragePool")
    activation = part(net, "x", "relu")(nets.NET_P_INPUT)[0]
    found = reciprocam(activation, element(part(net, "relu", "y"), index))
    assert_allclose(found, nets.NET_P_CAM[index] / 4 + nets.NET_P_BIAS[index], atol=1e-6)


@pytest.mark.parametrize("index", range(3))
def test_cam_and_the_logits_of_both_poolings(index: int) -> None:
    activation = part(nets.net_p(), "x", "relu")(nets.NET_P_INPUT)[0]
    weights, bias = nets.NET_P_WEIGHTS[index], nets.NET_P_BIAS[index]
    found = cam(activation, weights)
    assert_allclose(found, nets.NET_P_CAM[index])
    logits = {name: values[index] for name, values in nets.NET_P_LOGITS.items()}
    assert_allclose(gap_logit(activation, weights, bias), logits["GlobalAveragePool"])
    assert_allclose(gmp_logit(activation, weights, bias), logits["GlobalMaxPool"])
    assert_allclose(found.mean() + bias, logits["GlobalAveragePool"])


def test_eigencam_of_net_t() -> None:
    activation = nets.NET_T_ACTIVATIONS["relu"]
    assert_allclose(eigencam(activation), nets.NET_T_EIGENCAM)
    assert_allclose(eigencam(activation, center=True), nets.NET_T_EIGENCAM_CENTERED)
    assert eigencam(activation).min() >= 0


def test_eigencam_of_a_rank_one_activation_is_its_pattern() -> None:
    pattern = np.array([[0.0, 1], [2, 5]])
    activation = np.array([3.0, -4, 0])[:, None, None] * pattern
    assert_allclose(eigencam(activation), 5 * pattern, atol=1e-12)
    assert_allclose(eigencam(activation, center=True), 5 * (pattern - 2), atol=1e-12)


def test_orient_makes_the_largest_magnitude_positive() -> None:
    assert_array_equal(orient(np.array([[1.0, -3], [2, 0]])), [[-1, 3], [-2, 0]])
    assert_array_equal(orient(np.array([[-1.0, 3]])), [[-1, 3]])
