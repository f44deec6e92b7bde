"""Signals, (N, channels, length), and rows of features: which neighbors are masked together."""

from typing import Any

import numpy as np
import pytest
from explainer.formulas import Array, linear, model, noise
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter1d

from onnxplain import Explainer
from onnxplain.errors import OnnxplainError, OptionError

CHANNELS, LENGTH = 3, 40
MIX = noise(2, CHANNELS)
X = noise(1, CHANNELS, LENGTH, seed=1)

# The score of class k is the mean over time of <MIX[k], x>.
MEAN = "p = GlobalAveragePool(c) y = Flatten(p) }"
FORMS = {
    "channels first": (
        1, f"g (float[N,3,40] x) => (float[N,2] y) {{ c = Conv(x, k) {MEAN}"),
    "behind a scale": (
        1, f"g (float[N,3,40] x) => (float[N,2] y) {{ s = Mul(x, one) c = Conv(s, k) {MEAN}"),
    "channels last": (
        2, "g (float[N,40,3] x) => (float[N,2] y) "
        f"{{ t = Transpose<perm=[0,2,1]>(x) c = Conv(t, k) {MEAN}"),
}  # fmt: skip

every_form = pytest.mark.parametrize("form", FORMS)


def explained(form: str) -> tuple[Explainer, Array, int]:
    """An explainer, a sample, and the axis of its channels."""
    axis, text = FORMS[form]
    return Explainer(model(text, k=MIX[..., None], one=[1])), np.moveaxis(X, 1, axis), axis


@every_form
def test_a_window_covers_all_channels_of_some_time(form: str) -> None:
    explainer, x, axis = explained(form)
    found = explainer.attribute(x, "occlusion", 1, window=1, fill="zeros")
    lost = MIX[1] @ X[0] / LENGTH
    values = np.moveaxis(found.values, axis, 1)
    assert_allclose(values[0], np.broadcast_to(lost, (CHANNELS, LENGTH)), atol=1e-6)


@every_form
def test_a_signal_is_blurred_along_time(form: str) -> None:
    """For a linear score blur_ig is the slope times what the blur removes."""
    explainer, x, axis = explained(form)
    found = explainer.attribute(x, "blur_ig", 1, max_sigma=3, steps=60)
    away = X - gaussian_filter1d(X.astype(np.float64), 3, axis=2, mode="reflect", truncate=9)
    values = np.moveaxis(found.values, axis, 1)
    assert_allclose(values[0], MIX[1][:, None] * away[0] / LENGTH, atol=1e-6)
    baseline = explainer.attribute(x, "input_x_gradient", 1)
    lost = explainer.attribute(x, "integrated_gradients", 1, baseline="blur", steps=2)
    smooth = np.moveaxis(baseline.values - lost.values, axis, 1)[0] / MIX[1][:, None] * LENGTH
    strong = gaussian_filter1d(X[0].astype(np.float64), LENGTH / 10, mode="nearest")
    assert_allclose(smooth, strong, atol=1e-2)


def rise_of(score: Any, keep: float, samples: int, grid: int, seed: int) -> Array:
    """RISE of a signal, mask by mask."""
    random = np.random.default_rng(seed)
    grids = random.random((samples, grid)) < keep
    cell = -(-LENGTH // grid)
    shifts = random.integers(0, cell, (samples, 1, 1)).ravel()
    places = (np.arange((grid + 1) * cell) + 0.5) / ((grid + 1) * cell) * grid - 0.5
    total = np.zeros(LENGTH)
    for cells, shift in zip(grids, shifts, strict=True):
        mask = np.interp(places, np.arange(grid), cells)[shift : shift + LENGTH]
        total += score(X[0] * mask) * mask
    return total / samples / keep


@every_form
def test_rise_masks_a_signal_along_time(form: str) -> None:
    explainer, x, axis = explained(form)
    options: dict[str, Any] = {"samples": 50, "grid": 5, "keep": 0.4, "seed": 3}
    found = explainer.attribute(x, "rise", 1, score="logit", baseline="zeros", **options)
    values = np.moveaxis(found.values, axis, 1)[0]
    assert_array_equal(values, np.broadcast_to(values[:1], values.shape))
    expected = rise_of(lambda signal: (MIX[1] @ signal).mean(), 0.4, 50, 5, 3)
    assert_allclose(values[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (3, 4)])
def test_rise_keeps_each_feature_by_itself(shape: tuple[int, ...]) -> None:
    """It is not known which inputs of a dense layer belong together."""
    weights, x = noise(2, *shape), noise(1, *shape, seed=1)
    explainer = Explainer(linear(",".join(map(str, shape)), weights))
    options: dict[str, Any] = {"score": "logit", "baseline": "zeros", "samples": 64, "seed": 5}
    found = explainer.attribute(x, "rise", 1, keep=0.3, **options)
    masks = np.random.default_rng(5).random((64, x.size)) < 0.3
    scores = masks @ (weights[1] * x[0]).ravel() + 1
    assert_allclose(found.values.ravel(), scores @ masks / 64 / 0.3, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "sentence", "instead"),
    [
        ("cam", r"and here .*\. Use integrated_gradients or occlusion, which look at no layer",
         {"integrated_gradients": {"baseline": "zeros"}, "occlusion": {"fill": "zeros"}}),
        ("regression_activation_map", "Use integrated_gradients or occlusion",
         {"integrated_gradients": {"baseline": "zeros"}}),
        ("gradcam", r"No layer.*such as occlusion or integrated_gradients \(with fill or",
         {"integrated_gradients": {"baseline": "zeros"}, "occlusion": {"fill": "zeros"}}),
        ("blur_ig", "use integrated_gradients with the baseline zeros",
         {"integrated_gradients": {"baseline": "zeros"}}),
        ("activation_maximization", "use gradient", {"gradient": {}}),
        ("attention_rollout", "use occlusion or integrated_gradients, which ask for no layer",
         {"integrated_gradients": {"baseline": "zeros"}}),
    ],
)  # fmt: skip
def test_what_refuses_a_row_of_features_names_what_does_not(
    method: str, sentence: str, instead: dict[str, dict[str, Any]]
) -> None:
    text = "g (float[N,7] x) => (float[N,2] y) { h = MatMul(x, a) r = Relu(h) y = MatMul(r, b) }"
    explainer = Explainer(model(text, a=noise(7, 6), b=noise(6, 2)))
    x = noise(1, 7, seed=1)
    with pytest.raises(OnnxplainError, match=sentence):
        explainer.attribute(x, method, 0)
    for name, options in instead.items():
        assert explainer.attribute(x, name, 0, **options).values.any()


def test_black_is_no_value_of_a_signal() -> None:
    explainer, x, _ = explained("channels first")
    with pytest.raises(OptionError, match=r"no black.*zeros or mean"):
        explainer.attribute(x, "rise", 0, baseline="black")
    for method, option in (("occlusion", "fill"), ("integrated_gradients", "baseline")):
        with pytest.raises(OptionError, match="gray or white: choose zeros or mean, or give an"):
            explainer.attribute(x, method, 0, **{option: "white"})


def test_a_map_that_is_the_same_everywhere_is_told_of_arrays_too() -> None:
    explainer = Explainer(linear("4,5", np.ones((2, 20))))
    found = explainer.attribute(np.full((2, 4, 5), 3), "occlusion", 0, window=1, fill="zeros")
    for diagnostics in found.diagnostics["samples"]:
        (sentence,) = diagnostics["warnings"]
        assert sentence.startswith("The map of occlusion is the same everywhere (3)")
    varied = explainer.attribute(noise(1, 4, 5), "occlusion", 0, window=1, fill="zeros")
    assert "warnings" not in varied.diagnostics["samples"][0]
