"""`smooth` and `sigma`: closed forms of linear models, slow references, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references import gradcam as reference
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError, TargetError
from onnxplain.formulas.low_pass import low_pass, waves_of
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import Method
from onnxplain.methods.gradient import InputGradientMethod
from onnxplain.methods.registry import METHODS, make_method
from tools.cases.models import CASES, Array

AUG, EIGEN = {"smooth": "aug"}, {"smooth": "eigen"}
FILTERED = [name for name, kind in METHODS.items() if issubclass(kind, InputGradientMethod)]


def linear(shape: tuple[int, ...], weights: Array) -> Explainer:
    """The score <w, x>."""
    sizes = ",".join(map(str, shape))
    model = tiny(
        "f = Flatten(x) y = MatMul(f, W)", f"float[N,{sizes}] x", "float[N,1] y", W=weights
    )
    layout = "NHWC" if shape[-1] == 3 else "NCHW"
    return Explainer(model, preprocess={"layout": layout, "scale": 1, "mean": 0, "std": 1})


@pytest.mark.parametrize(("shape", "columns"), [((3, 4, 5), 2), ((4, 5, 3), 1)])
def test_aug_of_a_linear_model(shape: tuple[int, ...], columns: int) -> None:
    # The gradient of every sample is w; x times it is scaled by 0.9, 1 and 1.1, whose mean is 1.
    w, x = noise(*shape), noise(2, *shape, seed=1)
    mirrored = (w + np.flip(w, columns)) / 2
    explainer = linear(shape, w.reshape(-1, 1))
    gradient = explainer.attribute(x, "gradient", 0, **AUG).values
    assert_allclose(gradient, [mirrored, mirrored], rtol=1e-5)
    product = explainer.attribute(x, "input_x_gradient", 0, **AUG)
    assert_allclose(product.values, x * mirrored, rtol=1e-4, atol=1e-6)
    assert_allclose(product.scores, (x * w).sum((1, 2, 3)), rtol=1e-4)


def test_aug_covers_each_pixel_of_each_sample_once() -> None:
    # The score of a sample without a pixel is lower by w x there: the same mean, by occlusion.
    w, x = noise(3, 4, 5), noise(1, 3, 4, 5, seed=1)
    options = {"window": 1, "stride": 1, "fill": "zeros", **AUG}
    found = linear((3, 4, 5), w.reshape(-1, 1)).attribute(x, "occlusion", 0, **options)
    expected = (x[0] * w + x[0] * np.flip(w, 2)).sum(0) / 2
    assert_allclose(found.values[0, 0], expected, rtol=1e-4, atol=1e-5)
    assert found.diagnostics["samples"][0]["forward_passes"] == 6 * (1 + 4 * 5)


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "feature_maps", "eigencam"])
def test_aug_turns_maps_of_a_layer_back(method: str) -> None:
    case = CASES["net_r"]()

    def explained(x: Array) -> Array:
        return np.asarray(case.explainer.attribute(x, method, 1).values[0], np.float64)

    scaled = [np.float32(scale) * case.x for scale in (0.9, 1, 1.1)]
    maps = [explained(x) for x in scaled] + [explained(x[..., ::-1])[..., ::-1] for x in scaled]
    found = case.explainer.attribute(case.x, method, 1, **AUG)
    assert_allclose(found.values[0], np.mean(maps, axis=0), rtol=1e-4, atol=1e-5 * np.max(maps))
    assert found.diagnostics["samples"][0]["averaged_samples"] == 6


def test_aug_explains_the_class_of_the_sample_itself() -> None:
    """The class with the largest score may be another one in the mirror image."""
    w = np.zeros((2, 2, 2), np.float32)
    w[0, 0, 0], w[1, 0, 1] = 1, 2
    nodes = "f = Flatten(x) y = MatMul(f, W)"
    weights = w.reshape(2, 4).T
    model = tiny(nodes, "float[N,1,2,2] x", "float[N,2] y", W=weights)
    explainer = Explainer(model, preprocess={"layout": "NCHW", "scale": 1, "mean": 0, "std": 1})
    x = np.array([[[[3, 1], [0, 0]]]], np.float32)
    found = explainer.attribute(x, "gradient", "top1", **AUG)
    assert found.targets[0].index == 0
    assert_allclose(found.values[0, 0], [[0.5, 0.5], [0, 0]])


PRODUCTS: dict[str, Callable[[Array, Array], Array]] = {
    "gradcam": lambda a, g: g.mean((1, 2), keepdims=True) * a,
    "hirescam": lambda a, g: g * a,
    "layercam": lambda a, g: reference.rectified(g) * a,
    "gradcam++": lambda a, g: (
        reference.gradcam_plus_plus_weights(a, g**2, g**3, g)[:, None, None] * a
    ),
}


@pytest.mark.parametrize("method", PRODUCTS)
@pytest.mark.parametrize("target", [1, 3])
def test_eigen_at_a_layer(method: str, target: int) -> None:
    case = CASES["net_r"]()
    a = case.run("relu2")[0].astype(np.float64)
    rows = case.weights("rows").astype(np.float64)
    g = np.broadcast_to(rows[target][:, None, None] / a[0].size, a.shape)
    expected = reference.principal_sum(PRODUCTS[method](a, g))
    if method != "hirescam":
        expected = reference.rectified(expected)
    found = case.explainer.attribute(case.x, method, target, layer="relu2", **EIGEN)
    assert expected.any()
    assert_allclose(found.values[0], expected, atol=2e-5 * np.abs(expected).max())


def test_eigen_of_sampled_methods() -> None:
    """`ablationcam` of a layer that a linear layer reads: w_k A_k is known."""
    case = CASES["net_r"]()
    a = case.run("relu2")[0].astype(np.float64)
    lost = case.weights("rows").astype(np.float64)[1] * a.mean((1, 2))
    weights = lost / case.run("y")[0, 1]
    expected = reference.rectified(reference.principal_sum(weights[:, None, None] * a))
    found = case.explainer.attribute(case.x, "ablationcam", 1, layer="relu2", **EIGEN)
    assert_allclose(found.values[0], expected, atol=1e-4 * expected.max())


def test_both_at_once() -> None:
    case = CASES["net_r"]()
    scaled = [np.float32(scale) * case.x for scale in (0.9, 1, 1.1)]

    def explained(x: Array) -> Array:
        return np.asarray(case.explainer.attribute(x, "layercam", 1, **EIGEN).values[0])

    maps = [explained(x) for x in scaled] + [explained(x[..., ::-1])[..., ::-1] for x in scaled]
    found = case.explainer.attribute(case.x, "layercam", 1, smooth="aug+eigen").values[0]
    assert_allclose(found, np.mean(maps, axis=0), rtol=1e-4, atol=1e-5 * np.max(maps))


def test_methods_say_whether_they_are_a_sum_over_channels() -> None:
    summing = {name for name, kind in METHODS.items() if kind.sums_channels}
    known = "gradcam gradcam++ xgradcam hirescam odam layercam smooth_gradcam++ cam fem"
    others = "regression_activation_map scorecam ablationcam"
    assert set(known.split()) | set(others.split()) <= summing
    for name in METHODS.keys() - summing:
        with pytest.raises(OptionError, match=r"the map of .* is no such sum"):
            make_method(name, EIGEN)


# --- sigma --------------------------------------------------------------------------------------


def filtered(heat: Array, sigma: float) -> Array:
    """By numpy's Fourier transform."""
    shorter = min(heat.shape)
    down, across = (np.fft.fftfreq(size, 1 / size) * (shorter / size) for size in heat.shape)
    kept = np.hypot(down[:, None], across) <= sigma
    return np.fft.ifft2(np.fft.fft2(heat) * kept).real


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (10, 6), (5, 5)])
@pytest.mark.parametrize("sigma", [0.5, 1, 2.3, 100])
def test_the_filter_is_that_of_the_fourier_transform(size: tuple[int, int], sigma: float) -> None:
    a = np.random.default_rng(0).normal(size=(2, 3, *size))
    expected = [[filtered(heat, sigma) for heat in one] for one in a]
    assert_allclose(low_pass(NUMPY, a, (-2, -1), sigma), expected, atol=1e-6)
    last = np.moveaxis(a, 1, -1)
    found = low_pass(NUMPY, last, (-3, -2), sigma)
    assert_allclose(np.moveaxis(found, -1, 1), expected, atol=1e-6)


def test_waves_are_orthonormal() -> None:
    for size in (1, 2, 5, 8):
        basis, frequencies = waves_of(size, size)
        assert basis.shape == (size, size)
        assert_allclose(basis @ basis.T, np.eye(size), atol=1e-12)
        assert frequencies[-1] == size // 2


def test_sigma_filters_what_is_drawn() -> None:
    case = CASES["net_r"]()
    product = case.attribute("input_x_gradient")
    found = case.attribute("input_x_gradient", sigma=3)
    assert found.shape == (1, 20, 26)
    size = np.abs(product.sum(0)).max()
    assert_allclose(found[0], filtered(product.sum(0), 3), atol=1e-6 * size)
    assert_allclose(found.sum(), product.sum(), rtol=1e-4)
    sizes = np.abs(case.attribute("gradient")).max(0)
    found = case.attribute("gradient", sigma=3)
    assert_allclose(found[0], filtered(sizes, 3), atol=1e-6 * sizes.max())


def test_sigma_and_aug() -> None:
    case = CASES["net_r"]()
    averaged = case.attribute("input_x_gradient", **AUG).sum(0)
    found = case.attribute("input_x_gradient", sigma=2.5, **AUG)
    assert_allclose(found[0], filtered(averaged, 2.5), atol=1e-6 * np.abs(averaged).max())


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [name for name in FILTERED if name != "guided_gradcam"])
def test_sigma_needs_rows_and_columns(method: str) -> None:
    explainer = linear((6,), noise(6, 1))
    options: dict[str, Any] = {"baselines": noise(2, 6)} if method == "expected_gradients" else {}
    with pytest.raises(OptionError, match="rows and columns"):
        explainer.attribute(noise(1, 6), method, 0, sigma=3, **options)


def test_a_sigma_of_zero_is_refused() -> None:
    with pytest.raises(OptionError, match="gradient takes a sigma > 0"):
        CASES["net_r"]().attribute("gradient", sigma=0)


@pytest.mark.parametrize("shape", [(6,), (3, 9)])
def test_aug_needs_rows_and_columns(shape: tuple[int, ...]) -> None:
    explainer = linear(shape, noise(int(np.prod(shape)), 1))
    with pytest.raises(OptionError, match=r"smooth aug needs .* rows and columns.* smooth none"):
        explainer.attribute(noise(1, *shape), "gradient", 0, **AUG)


def test_aug_makes_no_picture() -> None:
    with pytest.raises(OptionError, match="makes a picture, not a map"):
        CASES["net_r"]().attribute("activation_maximization", steps=1, **AUG)


def test_aug_of_a_target_at_a_place_is_refused() -> None:
    model = tiny("y = Conv(x, K)", "float[N,3,6,6] x", "float[N,2,6,6] y", K=noise(2, 3, 1, 1))
    explainer = Explainer(model, preprocess={"layout": "NCHW", "scale": 1, "mean": 0, "std": 1})
    with pytest.raises(TargetError, match=r"mirror images .* '0@all' is at another place"):
        explainer.attribute(noise(1, 3, 6, 6), "gradient", "0@all", **AUG)


def test_the_option_is_one_of_a_few() -> None:
    with pytest.raises(OptionError, match="gradcam takes one of none, aug, eigen"):
        make_method("gradcam", {"smooth": "more"})
    assert isinstance(make_method("gradcam", AUG), Method)
