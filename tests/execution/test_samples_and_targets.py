"""What a sample keeps for its targets, what it checks, and which passes it reports."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import GradientError
from onnxplain.execution import derivatives
from onnxplain.execution.sample import Sample
from onnxplain.explainer import requests

PICTURE = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
SETTINGS = {"size": (8, 8), "scale": 1 / 255, "layout": "NCHW"}
DEEP = "a = Conv<pads=[1,1,1,1]>(x, K)  b = Tanh(a)  p = GlobalAveragePool(b)  f = Flatten(p)"
HEAD = "  y = MatMul(f, W)"


def build(nodes: str = DEEP + HEAD, classes: int = 3, batch: str = "N", size: int = 8) -> Any:
    weights = {"K": noise(4, 3, 3, 3), "W": noise(4, classes, seed=1)}
    return tiny(
        nodes, f"float[{batch},3,{size},{size}] x", f"float[{batch},{classes}] y", **weights
    )


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Sample]]:
    """Those that were made."""
    seen: list[weakref.ref[Sample]] = []

    def made(*arguments: Any) -> Sample:
        sample = Sample(*arguments)
        seen.append(weakref.ref(sample))
        return sample

    monkeypatch.setattr(requests, "Sample", made)
    return seen


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("smooth_gradcam++", {"layer": "a,b", "samples": 2}),
        ("occlusion", {}),
        ("smoothgrad", {"samples": 2}),
    ],
)
def test_a_sample_is_gone_when_it_is_explained(
    samples: list[weakref.ref[Sample]], method: str, options: dict[str, Any]
) -> None:
    explainer = Explainer(build(), preprocess=SETTINGS)
    gc.collect()
    gc.disable()
    try:
        explainer.explain(PICTURE, method, 0, **options)
        assert [sample() for sample in samples] == [None]
    finally:
        gc.enable()


def peak(explainer: Explainer, method: str, targets: list[int], **options: Any) -> int:
    tracemalloc.start()
    x = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    explainer.explain_each(x, method, targets, **options)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("method", ["smooth_gradcam++", "layercam"])
def test_memory_at_layers_does_not_grow_with_the_groups_of_targets(method: str) -> None:
    """A layer is 64 times as large as its map; one map is kept for each target."""
    nodes = DEEP.replace("K)", "M)") + HEAD.replace("W)", "V)")
    weights = {"M": noise(64, 3, 3, 3), "V": noise(64, 40, seed=1)}
    model = tiny(nodes, "float[N,3,64,64] x", "float[N,40] y", **weights)
    explainer = Explainer(model, preprocess={**SETTINGS, "size": (64, 64)})
    options = {"layer": "a,b"} | ({"samples": 2} if method == "smooth_gradcam++" else {})
    peak(explainer, method, list(range(8)), **options)
    eight, forty = (peak(explainer, method, list(range(n)), **options) for n in (8, 40))
    assert forty - eight < 32 * 64 * 64 * 64 * 4  # one gradient at one of both layers for each


def test_many_layers_are_explained_for_fewer_targets_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explainer = Explainer(build(), preprocess=SETTINGS)
    options = {"layer": "a,b", "samples": 3}
    expected = explainer.explain_each(PICTURE, "smooth_gradcam++", range(3), **options)
    assert expected[0].diagnostics["forward_passes"] == 1 + 3
    room = 2 * 2 * 4 * 8 * 8 * 24
    monkeypatch.setattr("onnxplain.explainer.sampled.MOST_BYTES", room)
    found = explainer.explain_each(PICTURE, "smooth_gradcam++", range(3), **options)
    assert found[0].diagnostics["forward_passes"] == 1 + 2 * 3
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own.values, other.values, rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("smoothgrad", {"samples": 10}),
        ("smooth_gradcam++", {"samples": 10, "layer": "a,b"}),
        ("expected_gradients", {"samples": 10, "baselines": noise(2, 3, 8, 8)}),
        ("integrated_gradients", {"steps": 10}),
        ("guided_ig", {"steps": 10}),
        ("activation_maximization", {"steps": 8}),
    ],
)
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_forward_passes_are_those_that_were_run(
    method: str, options: dict[str, Any], score: str
) -> None:
    explainer = Explainer(build(), preprocess=SETTINGS)
    explainer.explain(PICTURE, method, 0, score=score, **options)  # the graph is checked once
    before = explainer.session_runs
    diagnostics = explainer.explain(PICTURE, method, 0, score=score, **options).diagnostics
    assert diagnostics["forward_passes"] == explainer.session_runs - before
    assert 10 < diagnostics["forward_passes"] < 20  # the graph finds a probability's seeds
    assert diagnostics["backward_passes"] == 10


@pytest.mark.parametrize("method", ["smoothgrad", "vargrad", "smooth_gradcam++", "layercam"])
def test_a_graph_that_answers_differently_is_refused_near_the_sample_too(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    other = lower(Explainer(build(DEEP.replace("Tanh", "Sigmoid") + HEAD)).model)
    monkeypatch.setattr(derivatives, "lower", lambda model: other)
    explainer = Explainer(build(), preprocess=SETTINGS)
    options = {"layer": "a"} if "cam" in method else {}
    for _ in range(2):  # and it is kept
        with pytest.raises(GradientError, match=r"differs by .* from the model"):
            explainer.explain(PICTURE, method, 0, **options)


def test_the_graph_is_checked_once() -> None:
    explainer = Explainer(build(), preprocess=SETTINGS)
    runs = [explainer.session_runs]
    for _ in range(3):
        explainer.explain(PICTURE, "smoothgrad", 0, samples=4)
        runs.append(explainer.session_runs)
    assert list(np.diff(runs)) == [1 + 4 + 1, 1 + 4, 1 + 4]


def test_a_path_of_its_own_in_a_model_with_a_fixed_batch() -> None:
    found = [
        Explainer(build(batch=batch), preprocess=SETTINGS).explain(PICTURE, "guided_ig", 1, steps=7)
        for batch in "3N"
    ]
    np.testing.assert_allclose(found[0].values, found[1].values, rtol=1e-4, atol=1e-6)


def test_each_target_tells_the_steps_that_it_took() -> None:
    """One score is linear, and complete immediately; the other is a square."""
    nodes = "f = Flatten(x)  l = MatMul(f, A)  s = Mul(l, l)  y = Concat<axis=1>(l, s)"
    model = tiny(nodes, "float[N,3,8,8] x", "float[N,2] y", A=np.abs(noise(192, 1)) / 192)
    explainer = Explainer(model, preprocess=SETTINGS)
    options = {"steps": 2, "rule": "riemann-left", "tolerance": 0.1}
    linear, square = explainer.explain_each(PICTURE, "integrated_gradients", [0, 1], **options)
    # The left sum of 2t over n steps is 1 - 1/n.
    assert (linear.diagnostics["steps"], square.diagnostics["steps"]) == (2, 16)
    assert linear.diagnostics["backward_passes"] == 2 * 2 + 4 + 8 + 16


def dead(**options: Any) -> list[str]:
    """Warnings about a rectifier that is never active, and the convolution before it."""
    nodes = (DEEP + HEAD).replace("b = Tanh(a)", "s = Abs(a)  n = Neg(s)  b = Relu(n)")
    found = Explainer(build(nodes)).attribute(noise(1, 3, 8, 8), target=0, **options)
    warnings: list[str] = found.diagnostics["samples"][0]["warnings"]
    return warnings


@pytest.mark.parametrize(
    ("method", "options"),
    [("gradcam", {"relu": False}), ("gradcam", {}), ("hirescam", {}), ("layercam", {})],
)
def test_a_layer_that_is_zero_is_told_as_such(method: str, options: dict[str, Any]) -> None:
    (sentence,) = dead(method=method, layer="b", **options)
    assert "every activation of this layer is 0" in sentence
    assert "relu" not in sentence


def test_advice_is_never_what_was_done() -> None:
    """Two channels of ones, read with the same weights, or with some that add up to 0."""
    nodes = (
        "a = Conv(x, K)  w = Mul(a, W)  r = ReduceSum<keepdims=0>(w, AXES)  y = Unsqueeze(r, ONE)"
    )
    fixed = {
        "K": np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1),
        "AXES": np.array([1, 2, 3]),
        "ONE": np.array([1]),
    }

    def warning(even: float, odd: float, **options: Any) -> str:
        w = np.tile(np.array([even, odd], np.float32), (1, 2, 8, 4))
        model = tiny(nodes, "float[N,2,8,8] x", "float[N,1] y", W=w, **fixed)
        x = np.ones((1, 2, 8, 8), np.float32)
        found = Explainer(model).attribute(x, "gradcam", 0, layer="a", **options)
        (sentence,) = found.diagnostics["samples"][0]["warnings"]
        assert isinstance(sentence, str)
        return sentence

    assert "gradcam without relu" in warning(-1, -1)
    assert "gradcam without counterfactual" in warning(1, 1, counterfactual=True)
    assert "cancel" in warning(1, -1, relu=False)


def test_warnings_of_several_layers_name_theirs() -> None:
    warnings = " ".join(dead(method="gradcam", layer="n,b"))
    first, second = warnings.split("At 'b': ")
    assert "at 'n': The gradient of the target at this layer is 0" in first
    assert second.startswith("Every activation of this layer is 0")


def test_guided_gradcam_tells_why_gradcam_is_flat() -> None:
    (sentence, *_) = dead(method="guided_gradcam", layer="b")
    assert "every activation of this layer is 0" in sentence


def test_what_layers_share_is_told_once() -> None:
    explainer = Explainer(build(), preprocess=SETTINGS)
    diagnostics = explainer.explain(
        PICTURE, "smooth_gradcam++", 0, layer="a,b", samples=10
    ).diagnostics
    assert diagnostics["forward_passes"] == 11
    assert diagnostics["layers"] == {"a": {}, "b": {}}
    diagnostics = explainer.explain(PICTURE, "ablationcam", 0, layer="a,b").diagnostics
    assert [own["head_passes"] for own in diagnostics["layers"].values()] == [5, 5]


@pytest.mark.parametrize(
    ("method", "passes"), [("scorecam", {"forward_passes": 2}), ("ablationcam", {"head_passes": 0})]
)
def test_channels_that_are_all_zero_are_run_for_no_sample(
    method: str, passes: dict[str, int]
) -> None:
    biased = tiny(
        DEEP + HEAD.replace("y =", "z =") + "  y = Add(z, B)",
        "float[N,3,8,8] x",
        "float[N,3] y",
        K=noise(4, 3, 3, 3),
        W=noise(4, 3, seed=1),
        B=np.ones(3, np.float32),
    )
    options = {"baseline": "zeros"} if method == "scorecam" else {}
    zeros = np.zeros((1, 3, 8, 8), np.float32)
    found = Explainer(biased).attribute(zeros, method, 1, layer="a", **options)
    assert not found.values.any()
    diagnostics = found.diagnostics["samples"][0]
    assert {**diagnostics, "skipped_channels": 4, **passes} == diagnostics
