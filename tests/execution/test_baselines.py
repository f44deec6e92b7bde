"""The values that mean "absent"."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import BASELINES, Scene, make_baseline
from onnxplain.images.preprocess import Preprocess

# Blue, green, red: (v * 2 - (1, 2, 3)) / (2, 4, 8).
SETTINGS = Preprocess(size=(5, 7), channels="BGR", scale=2, mean=(1, 2, 3), std=(2, 4, 8))
X = np.random.default_rng(0).normal(size=(1, 3, 5, 7)).astype(np.float32)
NCHW = Scene(X, 1, (2, 3), SETTINGS)
NHWC = Scene(X.transpose(0, 2, 3, 1), 3, (1, 2), SETTINGS)
TABLE = Scene(X.reshape(1, 105), None, (1,), None)


@pytest.mark.parametrize(
    ("name", "color"),
    [
        ("black", [-1 / 2, -2 / 4, -3 / 8]),
        ("white", [509 / 2, 508 / 4, 507 / 8]),
        ("gray", [254 / 2, 253 / 4, 252 / 8]),
        ("zeros", [0, 0, 0]),
        ("mean", X.mean(axis=(0, 2, 3))),
    ],
)
def test_plain_colors_go_through_the_preprocessing(name: str, color: Any) -> None:
    expected = np.broadcast_to(np.array(color)[:, None, None], (1, 3, 5, 7))
    found = make_baseline(name, NCHW)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert_allclose(make_baseline(name, NHWC), expected.transpose(0, 2, 3, 1), rtol=1e-6, atol=1e-6)


def test_blur_keeps_no_outline_and_no_direction() -> None:
    step = np.zeros((1, 3, 40, 60), np.float32)
    step[:, 0, :, 30:] = 1
    step[:, 1] = 5
    blurred = make_baseline("blur", Scene(step, 1, (2, 3), SETTINGS))
    # Nothing changes along the edge. Across it: a normal distribution, sigma a tenth of 60 pixels.
    assert_allclose(blurred[0, 0], np.broadcast_to(blurred[0, 0, :1], (40, 60)), atol=1e-6)
    one_deviation = blurred[0, 0, 0, 30 + 6] + blurred[0, 0, 0, 30 + 5]
    assert one_deviation / 2 == pytest.approx(0.8413, abs=2e-3)
    assert_allclose(blurred[0, 1:], step[0, 1:], atol=1e-5)
    turned = make_baseline("blur", Scene(step.transpose(0, 2, 3, 1), 3, (1, 2), SETTINGS))
    assert_allclose(turned, blurred.transpose(0, 2, 3, 1), atol=1e-5)


def test_blur_takes_any_number_of_channels() -> None:
    many = np.random.default_rng(1).normal(size=(1, 7, 9, 8)).astype(np.float32)
    together = make_baseline("blur", Scene(many, 1, (2, 3), None))
    for channel in range(7):
        alone = make_baseline("blur", Scene(many[:, channel : channel + 1], 1, (2, 3), None))
        assert_allclose(together[:, channel], alone[:, 0], atol=1e-6)


def test_uniform_is_noise_within_the_sample_and_the_same_every_time() -> None:
    x = np.linspace(-3, 2, 3 * 50 * 70, dtype=np.float32).reshape(1, 3, 50, 70)
    found = make_baseline("uniform", Scene(x, 1, (2, 3), SETTINGS))
    assert -3 <= found.min() < -2.99
    assert 1.99 < found.max() <= 2
    assert found.mean() == pytest.approx(-0.5, abs=0.05)
    neighbors = np.corrcoef(found[..., 1:].ravel(), found[..., :-1].ravel())[0, 1]
    assert abs(neighbors) < 0.04
    assert_array_equal(found, make_baseline("uniform", Scene(x, 1, (2, 3), SETTINGS)))
    other = make_baseline("uniform", Scene(x, 1, (2, 3), SETTINGS, seed=1))
    assert (found != other).mean() > 0.99


@pytest.mark.parametrize(
    "given", [X[0], X[:, :1], np.float64(2.5), 3, np.ones((3, 1, 1), np.uint8)]
)
def test_arrays_broadcast(given: Any) -> None:
    found = make_baseline(given, NCHW)
    assert_array_equal(found, np.broadcast_to(np.asarray(given, np.float32), X.shape))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous


@pytest.mark.parametrize(
    ("spec", "scene", "sentence"),
    [
        ("purple", NCHW, "no baseline 'purple': choose black, white"),
        (np.zeros((1, 4, 5, 7)), NCHW, r"shape \(1, 4, 5, 7\), the model's input \(1, 3, 5, 7\)"),
        *[(name, TABLE, "no picture.*zeros or mean") for name in ("black", "white", "gray")],
        ("blur", TABLE, "needs a picture or a signal: choose zeros"),
    ],
)
def test_what_does_not_fit_is_refused(spec: Any, scene: Scene, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        make_baseline(spec, scene)


def test_inputs_that_are_no_pictures() -> None:
    assert_array_equal(make_baseline("zeros", TABLE), np.zeros((1, 105)))
    assert_allclose(make_baseline("mean", TABLE), np.full((1, 105), X.mean()), atol=1e-6)
    assert make_baseline("uniform", TABLE).shape == (1, 105)


def test_the_sample_is_left_alone() -> None:
    before = X.copy()
    for name in BASELINES:
        make_baseline(name, NCHW)
    assert_array_equal(before, X)
