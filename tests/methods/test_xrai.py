"""XRAI: against its authors' library, a slow form of the paper's algorithm, and a linear model."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from explainer.formulas import linear
from numpy.testing import assert_allclose, assert_array_equal
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.methods.xrai import ranked_regions, segments_of
from tools.cases.models import CASES, Array

SIZE = (24, 30)


def masks(seed: int = 0, count: int = 12) -> Array:
    """Boxes that overlap."""
    random, found = np.random.default_rng(seed), np.zeros((count, *SIZE), bool)
    for mask in found:
        (top, bottom), (left, right) = (np.sort(random.integers(0, n + 1, 2)) for n in SIZE)
        mask[top:bottom, left:right] = True
    return found


def slowly(attribution: Array, masks: Array, least: int) -> Array:
    """Algorithm 1 of Kapishnikov et al. 2019, with the library's least number of new pixels."""
    found, covered, left = np.full(attribution.shape, np.nan), np.zeros(SIZE, bool), list(masks)
    while left := [mask for mask in left if (mask & ~covered).sum() >= least]:
        gains = [attribution[mask & ~covered].mean() for mask in left]
        best = left[int(np.argmax(gains))]
        found[best & ~covered] = max(gains)
        covered |= best
    found[~covered] = attribution[~covered].mean() if (~covered).any() else np.nan
    return found


@pytest.mark.parametrize("least", [1, 40])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_regions_are_those_of_the_algorithm(seed: int, least: int) -> None:
    attribution = noise(*SIZE, seed=seed).astype(np.float64)
    expected = slowly(attribution, masks(seed), least)
    assert len(np.unique(expected)) > 1
    assert_allclose(ranked_regions(attribution, masks(seed), least), expected, atol=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_regions_are_those_of_the_authors_library(seed: int) -> None:
    peer = pytest.importorskip("saliency.core.xrai")
    attribution = noise(*SIZE, seed=seed).astype(np.float64)
    expected, _ = peer.XRAI._xrai(attribution, list(masks(seed)), min_pixel_diff=50)
    found = ranked_regions(attribution, masks(seed), 50)
    assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.peers
@pytest.mark.slow
def test_segments_are_those_of_the_authors_library() -> None:
    peer = pytest.importorskip("saliency.core.xrai")
    case = CASES["squeezenet"]()
    picture = np.moveaxis(case.x[0], 0, -1)
    expected = [one for one in peer._get_segments_felzenszwalb(picture) if one.any()]
    found = segments_of("xrai", Scene(case.x, 1, (2, 3), None))
    assert len(found) > 50
    assert_array_equal(found, np.stack(expected))


def test_a_linear_model() -> None:
    """Integrated gradients from black and white are w (x − gray), whatever the number of steps."""
    weights = noise(2, 3, *SIZE, seed=3)
    settings = {"layout": "NCHW", "scale": 1 / 255, "mean": 0, "std": 1}
    explainer = Explainer(linear("3,24,30", weights), preprocess=settings, provider="cpu")
    x = np.random.default_rng(4).random((1, 3, *SIZE), np.float32)
    x[:, 0, 4:14, 8:20] += 1
    found = explainer.attribute(np.repeat(x, 2, axis=0), "xrai", [0, 1], steps=1)
    regions = segments_of("xrai", Scene(x, 1, (2, 3), None))
    for target in range(2):
        attribution = (weights[target] * (x[0].astype(np.float64) - 0.5)).max(axis=0)
        expected = slowly(attribution, regions, max(1, round(50 * 24 * 30 / 224**2)))
        assert_allclose(found.values[target], np.broadcast_to(expected, (3, *SIZE)), atol=1e-5)
    facts = found.diagnostics["samples"][0]
    assert facts["segments"] == len(regions)


def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = Explainer(tiny("y = ReduceSum(x)", "float[N,2,9] x", "float[N,1] y"), provider="cpu")
    with pytest.raises(OptionError, match="rows and columns"):
        signal.attribute(noise(1, 2, 9), "xrai", 0)
    with pytest.raises(OptionError, match="steps >= 1"):
        CASES["net_r"]().attribute("xrai", steps=0)
    importlib.import_module("skimage.segmentation")
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(OptionError, match=r"onnxplain\[superpixels\]"):
        CASES["net_r"]().attribute("xrai", steps=1)
