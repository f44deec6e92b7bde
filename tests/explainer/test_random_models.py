"""Models that draw random numbers: refused, warned of, or replaced by their means."""

import json
import pickle

import numpy as np
import onnx
import pytest
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import GradientError, ModelError
from onnxplain.explainer import known_model
from onnxplain.exporting import export
from onnxplain.exporting.verify import verify
from onnxplain.methods.registry import METHODS

X = noise(1, 3, 8, 8)
W = noise(4, 3, 3, 3, seed=1)
V = noise(4, 2, seed=2)
ENDS = " p = GlobalAveragePool(d) f = Flatten(p) y = MatMul(f, V)"
DROPOUT = "a = Conv(x, W) d = Dropout(a, r, t)" + ENDS
PLAIN = "a = Conv(x, W) d = Identity(a)" + ENDS
COMPUTED = (
    "a = Conv(x, W) m = ReduceMax<keepdims = 0>(x) t = Greater(m, k) d = Dropout(a, r, t)" + ENDS
)
TRAINING = (
    """a = Conv(x, W)
    d, m, v = BatchNormalization<training_mode = 1>(a, scale, shift, mean, variance)"""
    + ENDS
)
STATISTICS = {
    name: np.array(values, np.float32)
    for name, values in {
        "scale": [1, 2, 3, 4],
        "shift": [5, 6, 7, 8],
        "mean": [0.1, 0.2, 0.3, 0.4],
        "variance": [1, 4, 9, 16],
    }.items()
}
WINDOW = {"window": 4, "stride": 4, "fill": "zeros"}


def built(body, **constants):
    used = {"W": W, "V": V, "r": np.float32(0.5), "t": np.array(True), **constants}
    named = {
        name: value for name, value in used.items() if f"{name})" in body or f"{name}," in body
    }
    named.pop("t", None) if "t = " in body else None
    return tiny(body, outputs="float[N,2] y", **named)


def opened(body=DROPOUT, constants=None, **more):
    return Explainer(built(body, **(constants or {})), provider="cpu", **more)


OPTIONS = {"occlusion": WINDOW, "rise": {"samples": 8, "grid": 2}}
GRADIENTS = [name for name, kind in METHODS.items() if kind.needs_gradient]


@pytest.mark.parametrize("method", GRADIENTS)
def test_methods_with_gradients_are_refused_in_one_sentence(method):
    options = {"channel": 0} if method == "activation_maximization" else {}
    with pytest.raises(GradientError) as refused:
        opened().attribute(X, method, **options)
    sentence = str(refused.value)
    assert "draws random numbers in 'd' (Dropout)" in sentence
    assert "--fix-random" in sentence
    assert "\n" not in sentence
    assert len(sentence) <= 500


@pytest.mark.parametrize("method", ["occlusion", "eigencam", "scorecam", "rise"])
def test_other_methods_warn_on_each_result(method):
    explainer = opened()
    found = explainer.attribute(X, method, **OPTIONS.get(method, {}))
    (about,) = found.diagnostics["samples"]
    assert any("draws random numbers in 'd' (Dropout)" in one for one in about["warnings"])


@pytest.mark.parametrize(
    "draw", ["RandomNormalLike(a)", "RandomUniform<shape = [1, 4, 6, 6]>()", "Bernoulli(s)"]
)
def test_the_reason_for_single_runs_is_true(draw):
    body = f"a = Conv(x, W) s = Sigmoid(a) n = {draw} d = Add(a, n)" + ENDS
    op = draw.partition("(")[0].partition("<")[0]
    reason = f"one by one: the model draws random numbers in 'n' ({op})"
    assert opened(body).batching() == reason


def test_a_dropout_that_onnx_runtime_leaves_out_takes_batches():
    body = "a = Conv(x, W) d = Dropout(a, r, t)" + ENDS
    assert opened(body).batching() == "in batches"


def test_a_method_without_gradients_is_the_default():
    name, why = opened().default_method()
    assert name == "occlusion"
    assert "draws random numbers in 'd'" in why


def test_two_runs_tell_of_a_mode_that_is_computed():
    draws = opened(COMPUTED, {"k": np.float32(-1e9)})
    assert [one.node for one in draws.randomness().suspects] == ["d"]
    with pytest.raises(GradientError, match="run again, because of 'd' "):
        draws.attribute(X, "gradient")
    rests = opened(COMPUTED, {"k": np.float32(1e9)})
    assert not rests.randomness().is_random
    expected = opened(PLAIN).attribute(X, "gradient").values
    assert np.allclose(rests.attribute(X, "gradient").values, expected, atol=1e-6)


def test_no_more_runs_for_a_model_of_known_operators():
    explainer = opened(PLAIN)
    explainer.randomness()
    assert explainer.session_runs == 0


@pytest.mark.parametrize("method", ["gradient", "hirescam", "occlusion", "eigencam"])
def test_fixed_dropout_is_the_model_without_it(method):
    options = WINDOW if method == "occlusion" else {}
    fixed, plain = opened(fix_random=True), opened(PLAIN)
    found, expected = (one.attribute(X, method, **options) for one in (fixed, plain))
    assert np.allclose(found.values, expected.values, rtol=1e-4, atol=1e-6)
    assert not found.diagnostics["samples"][0].get("warnings")
    assert fixed.batching() == "in batches"
    assert [tuple(one) for one in fixed.fixed_random] == [("d", "Dropout")]


def test_batch_statistics_are_named_and_replaced():
    explainer = opened(TRAINING, STATISTICS)
    assert explainer.batching() == (
        "one by one: the model normalizes by the statistics of the batch in 'd' "
        "(BatchNormalization)"
    )
    (about,) = explainer.attribute(X, "occlusion", **WINDOW).diagnostics["samples"]
    assert any("statistics of the batch in 'd'" in one for one in about["warnings"])
    fixed = opened(TRAINING, STATISTICS, fix_random=True)
    # The gain of each channel is scale / sqrt(variance): 1 for all of them.
    expected = opened(PLAIN).attribute(X, "gradient").values
    assert np.allclose(fixed.attribute(X, "gradient").values, expected, rtol=1e-4, atol=1e-6)


def test_fix_random_is_proved_by_two_runs(monkeypatch):
    monkeypatch.setattr(known_model, "without_draws", lambda model: (model, ()))
    body = "a = Conv(x, W) n = RandomNormalLike(a) d = Add(a, n)" + ENDS
    with pytest.raises(ModelError, match=r"Also with --fix-random .* draws random numbers in 'n'"):
        opened(body, fix_random=True)


def test_a_fixed_explainer_stays_fixed_in_copies():
    explainer = opened(fix_random=True)
    again = pickle.loads(pickle.dumps(explainer))
    assert again.fixed_random == explainer.fixed_random
    assert explainer.with_output("f").batching() == "in batches"


def test_exported_files_follow_the_same_rule(tmp_path):
    path = tmp_path / "file.onnx"
    with pytest.raises(GradientError, match="draws random numbers in 'd'"):
        export(opened(), path, "gradcam")
    fixed = opened(fix_random=True)
    export(fixed, path, "gradcam")
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(facts["onnxplain.fixed_random"]) == ["d"]
    (found,) = verify(path, fixed, [X])
    assert found.largest < 1e-3
    with pytest.raises(ModelError, match="was made with --fix-random"):
        list(verify(path, opened(), [X]))


def test_the_manifest_names_what_was_replaced(tmp_path):
    found = opened(fix_random=True).explain(X, "gradient")
    (path,) = found.save(tmp_path, ["json"])
    assert json.loads(path.read_text())["model"]["fixed_random"] == ["d"]
