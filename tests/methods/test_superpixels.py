"""LIME and KernelSHAP against closed forms and enumeration; see also `test_against_peers`."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError
from onnxplain.methods.superpixels import GLIME, coalitions
from tools.cases.models import CASES, MODELS, Array, Case

SIXTHS = np.kron(np.arange(6).reshape(2, 3), np.ones((10, 9), int))[:20, :26]
WEIGHTS = noise(12, 2, seed=3)


def linear() -> Explainer:
    """Twelve numbers, two scores."""
    return Explainer(
        tiny("y = MatMul(x, w)", "float[N,12] x", "float[N,2] y", w=WEIGHTS), provider="cpu"
    )


def switched(case: Case, labels: Array, kind: str) -> Callable[[Array], float]:
    """The score with the segments on that `z` names, black elsewhere."""
    score = case.score(kind)
    return lambda z: score(np.where(z[labels].astype(bool), case.x, case.black))


def shapley(value: Callable[[Array], float], count: int) -> Array:
    """By the definition: each segment's gain, averaged over all orders."""
    every = {}
    for size in range(count + 1):
        for members in combinations(range(count), size):
            every[members] = value(np.isin(np.arange(count), members))
    found = np.zeros(count)
    for members, base in every.items():
        share = (
            factorial(len(members)) * factorial(count - len(members) - 1)
            if len(members) < count
            else 0
        )
        for i in set(range(count)) - set(members):
            gain = every[tuple(sorted((*members, i)))] - base
            found[i] += share * gain / factorial(count)
    return found


@pytest.mark.parametrize("method", ["kernelshap", "lime"])
def test_a_single_segment_is_why_its_map_is_the_same_everywhere(method: str) -> None:
    """Also if the linear model does not fit: advice to take fewer segments would not help."""
    for x in (noise(1, 12), noise(1, 12, seed=9) * 0.001):
        diagnostics = (
            linear().attribute(x, method, 1, segments=1, samples=9, baseline="zeros").diagnostics
        )
        (sentence,) = diagnostics["samples"][0]["warnings"]
        assert "the same everywhere" in sentence
        assert sentence.endswith(
            "shows nothing: the whole input is one segment, which has one value: choose "
            "more segments, such as 200 (--segments 200)."
        )


@pytest.mark.parametrize("samples", [4094, 200])
def test_kernelshap_of_a_linear_model_is_exact_however_few_samples(samples: int) -> None:
    x, absent = noise(1, 12), noise(12, seed=1)
    found = linear().attribute(x, "kernelshap", 1, samples=samples, baseline=absent)
    assert_allclose(found.values[0], WEIGHTS[:, 1] * (x[0] - absent), atol=1e-5)
    assert found.diagnostics["samples"][0]["exact"] == (samples == 4094)


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_kernelshap_of_few_segments_is_the_shapley_value(kind: str) -> None:
    case = CASES["net_r"]()
    found = case.attribute("kernelshap", segments=SIXTHS, score=kind)
    expected = shapley(switched(case, SIXTHS, kind), 6)
    assert_allclose(found, np.broadcast_to(expected[SIXTHS], found.shape), atol=2e-5)


def test_what_belongs_to_no_segment_stays() -> None:
    """The pixels of segment 5 are always kept: five players, and a value of 0 there."""
    case = CASES["net_r"]()
    value = switched(case, SIXTHS, "logit")
    expected = shapley(lambda z: value(np.append(z, True)), 5)
    labels = np.where(SIXTHS == 5, -1, SIXTHS)
    found = case.attribute("kernelshap", segments=labels)
    placed = np.where(labels < 0, 0, np.append(expected, 0)[labels])
    assert_allclose(found, np.broadcast_to(placed, found.shape), atol=2e-5)
    assert_array_equal(case.attribute("lime", segments=labels)[:, labels < 0], 0)


def test_kernelshap_adds_up_and_tends_to_the_shapley_value() -> None:
    case = CASES["net_r"]()
    labels = np.arange(20 * 26).reshape(20, 26) * 10 // 520
    expected = shapley(switched(case, labels, "logit"), 10)
    found = case.attribute("kernelshap", segments=labels, samples=900)
    each = np.array([found[0][labels == i][0] for i in range(10)])
    assert_allclose(each.sum(), expected.sum(), rtol=1e-5)
    assert 1e-6 < np.abs(each - expected).max() < 0.1 * np.abs(expected).max()


def test_drawn_sets_come_with_their_complements_in_the_proportions_of_the_kernel() -> None:
    kept, weights = coalitions(30, 20_000, seed=1)
    assert_allclose(kept.mean(axis=0), 0.5)
    assert_allclose(weights, 1)
    sizes = np.arange(1, 30)
    expected = 1 / (sizes * (30 - sizes))
    found = np.bincount(kept.sum(axis=1), minlength=30)[1:] / len(kept)
    assert_allclose(found, expected / expected.sum(), atol=0.01)


@pytest.mark.parametrize("method", ["lime", "glime"])
def test_slopes_of_a_linear_model_where_nothing_is_penalized(method: str) -> None:
    x, absent = noise(1, 12), noise(12, seed=1)
    found = linear().attribute(x, method, 1, score="logit", ridge=0, samples=300, baseline=absent)
    assert_allclose(found.values[0], WEIGHTS[:, 1] * (x[0] - absent), atol=1e-4)
    assert_allclose(found.diagnostics["samples"][0]["fit_r2"], 1, atol=1e-6)


def test_lime_is_the_penalized_weighted_fit() -> None:
    case = CASES["net_r"]()
    kept = np.random.default_rng(5).random((40, 6)) < 0.5
    kept[0] = True
    scores = np.array([switched(case, SIXTHS, "probability")(z) for z in kept])
    cosine = kept.sum(axis=1) / np.sqrt(np.maximum(kept.sum(axis=1), 1) * 6)
    root = np.sqrt(np.exp(-((1 - cosine) ** 2) / (2 * 0.4**2)))[:, None]
    design = root * np.c_[kept, np.ones(40)]
    penalty = np.diag([0.5] * 6 + [0])
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ (root[:, 0] * scores))[:6]
    options = {"segments": SIXTHS, "samples": 40, "seed": 5, "kernel_width": 0.4, "ridge": 0.5}
    found = case.attribute("lime", **options)
    assert_allclose(found, np.broadcast_to(expected[SIXTHS], found.shape), atol=1e-6)


def test_glime_is_the_plain_fit_of_samples_near_the_picture() -> None:
    """The normal equations of a ridge regression without weights; the constant has no penalty."""
    case, keep = CASES["net_r"](), 1 / (1 + np.exp(-1 / 0.8**2))
    kept = np.random.default_rng(5).random((40, 6)) < keep
    scores = np.array([switched(case, SIXTHS, "probability")(z) for z in kept])
    design, penalty = np.c_[kept, np.ones(40)], np.diag([0.5] * 6 + [0])
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ scores)[:6]
    options = {"segments": SIXTHS, "samples": 40, "seed": 5, "kernel_width": 0.8, "ridge": 0.5}
    found = case.attribute("glime", **options)
    assert_allclose(found, np.broadcast_to(expected[SIXTHS], found.shape), atol=1e-6)


def test_glime_keeps_as_often_as_the_kernel_says() -> None:
    """Keeping one more segment is exp(1/σ²) times as likely."""
    kept, weights = GLIME(samples=200_000, kernel_width=1.25).drawn(4)
    counts = np.bincount(kept.sum(axis=1), minlength=5) / [1, 4, 6, 4, 1]
    assert_allclose(counts[1:] / counts[:-1], np.exp(1 / 1.25**2), rtol=0.05)
    assert_allclose(weights, 1)


def test_lime_warns_of_a_fit_that_is_none() -> None:
    """Signs multiplied: each value changes the score as often up as down."""
    model = tiny(
        "a = Slice (x, zero, one, one) b = Slice (x, one, two, one) y = Mul (a, b)",
        "float[N,2] x",
        "float[N,1] y",
        zero=np.array([0]),
        one=np.array([1]),
        two=np.array([2]),
    )
    explainer = Explainer(model, provider="cpu")
    x, options = np.ones((1, 2), np.float32), {"score": "logit", "kernel_width": 9.0}
    fits = explainer.attribute(x, "lime", 0, baseline="zeros", **options)
    assert "warnings" not in fits.diagnostics["samples"][0]
    odd = explainer.attribute(x, "lime", 0, baseline=-1.0, **options)
    diagnostics = odd.diagnostics["samples"][0]
    assert abs(diagnostics["fit_r2"]) < 0.1
    assert "explains" in diagnostics["warnings"][0]


def test_superpixels_follow_the_colors() -> None:
    explainer = Explainer(
        tiny("p = GlobalAveragePool(x) y = Flatten(p)", "float[N,3,32,48] x"), provider="cpu"
    )
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, 20:] = (200, 30, 30)
    found = explainer.explain(picture, "kernelshap", 0, segments=2)
    assert found.diagnostics["exact"]
    assert_allclose(found.values[:, :, :20], 0, atol=1e-6)
    assert (found.values[:, :, 20:] > 0.1).all()


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("lime", {"segments": SIXTHS[:5]}, r"shape \(20, 26\)"),
        ("lime", {"segments": 0}, "segments >= 1"),
        ("lime", {"segments": 0 * SIXTHS - 1}, "no segment: every place has the number -1"),
        ("lime", {"kernel_width": 0}, "kernel_width > 0"),
        ("glime", {"kernel_width": 0}, "kernel_width > 0"),
        ("kernelshap", {"samples": 5, "segments": SIXTHS}, "as many samples as segments"),
        ("kernelshap", {"samples": 0}, "samples >= 1"),
        ("kernelshap", {"segments": 1.5}, "a number of segments"),
    ],
)
def test_refused(method: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        CASES["net_r"]().attribute(method, **options)


@pytest.mark.parametrize("module", ["skimage.segmentation", "sklearn.linear_model"])
@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, method: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OptionError, match=r"onnxplain\[superpixels\]"):
        CASES["net_r"]().attribute(method)


def test_the_libraries_are_imported_only_when_they_are_used() -> None:
    code = "import sys, onnxplain.methods.registry; print({'skimage', 'sklearn'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.parametrize("picture", ["coffee_camera.png", "chelsea_camera.png"])
@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_superpixels_of_the_object_speak_for_it(method: str, picture: str) -> None:
    """With two objects, each class's peak is on its own object, and so are most positive values."""
    facts = json.loads((MODELS / "pictures" / "pictures.json").read_text(encoding="utf-8"))
    objects = facts[picture]["objects"]
    explainer, path = CASES["squeezenet"]().explainer, MODELS / "pictures" / picture
    classes = [item["classes"][0] for item in objects]
    for item, found in zip(
        objects, explainer.explain_each(path, method, classes, score="logit"), strict=True
    ):
        left, top, right, bottom = item["box"]
        box = np.zeros(found.heatmap.shape, bool)
        box[top:bottom, left:right] = True
        low, high = found.heatmap_range
        values = np.maximum(low + (high - low) * found.heatmap, 0)
        assert box[np.unravel_index(found.heatmap.argmax(), box.shape)]
        assert values[box].mean() > 1.5 * values[found.seen & ~box].mean()
