"""`attribute`: arrays of any rank, other inputs, batches."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from explainer.formulas import (
    AS_IT_IS,
    INPUT,
    NET_R_SHAPES,
    OPTIONS,
    linear,
    model,
    noise,
    noise_picture,
)
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper

from onnxplain import Attribution, Explainer
from onnxplain.errors import LayerError, MapError, OptionError, PictureError, TargetError
from onnxplain.runtime import backend
from tools.cases import nets

PICTURE = noise_picture()

every_method = pytest.mark.parametrize("method", NET_R_SHAPES)


@pytest.mark.parametrize(
    "shape", [(7,), (3, 9), (2, 5, 4), (3, 4, 6), (1, 2, 3, 4), (6, 5, 4, 3, 2)]
)
def test_input_of_any_rank(shape: tuple[int, ...]) -> None:
    """Of a linear score, covering one element shows weight times change."""
    weights, x, fill = noise(2, *shape), noise(3, *shape, seed=1), noise(*shape, seed=2)
    explainer = Explainer(linear(",".join(map(str, shape)), weights), preprocess={"layout": "NCHW"})
    found = explainer.attribute(x, "occlusion", [0, 1, 0], window=1, stride=1, fill=fill)
    expected = weights[[0, 1, 0]] * (x - fill)
    if len(shape) == 3:  # rows and columns are covered, with all of their channels
        expected = np.broadcast_to(expected.sum(axis=1, keepdims=True), x.shape)
    assert_allclose(found.values, expected, atol=2e-5)
    assert found.values.dtype == np.float32
    assert_allclose(
        found.scores, (weights[[0, 1, 0]] * x).reshape(3, -1).sum(axis=1) + 1, atol=1e-4
    )


@pytest.mark.parametrize(("shape", "axis"), [("5,6,7", 1), ("6,7,5", 3)])
def test_pictures_of_many_bands(shape: str, axis: int) -> None:
    """No picture file has them, but they have rows and columns: methods for pictures work."""
    text = f"g (float[N,{shape}] x) => (float[N,2] y) {{"
    if axis == 3:
        text += " t = Transpose<perm=[0,3,1,2]>(x) c = Conv(t, k)"
    else:
        text += " c = Conv(x, k)"
    text += " a = Relu(c) p = GlobalAveragePool(a) f = Flatten(p) y = MatMul(f, w) }"
    explainer = Explainer(model(text, k=noise(3, 5, 1, 1), w=noise(3, 2, seed=1)))
    bands_first = noise(1, 5, 6, 7, seed=2)
    x = np.moveaxis(bands_first, 1, axis)
    for method, options in {
        "occlusion": {"fill": "mean"},
        "rise": {"samples": 5, "baseline": "zeros"},
    }.items():
        values = np.moveaxis(explainer.attribute(x, method, 0, **options).values[0], axis - 1, 0)
        assert_array_equal(values, np.broadcast_to(values[:1], (5, 6, 7)))
        assert np.ptp(values[0]) > 0
    assert explainer.attribute(x, "scorecam", 0, baseline="zeros").values.shape == (1, 6, 7)
    by_default = explainer.attribute(x, "occlusion", 0).values
    assert_array_equal(by_default, explainer.attribute(x, "occlusion", 0, fill="zeros").values)
    with pytest.raises(OptionError, match="no black, gray or white"):
        explainer.attribute(x, "occlusion", 0, fill="black")
    with pytest.raises(PictureError, match=r"Samples .* and those of the array of .*\(33, 47, 3\)"):
        explainer.explain(PICTURE, "occlusion")


def test_methods_for_pictures_refuse_what_has_no_rows_and_columns() -> None:
    explainer = Explainer(linear("7", noise(2, 7)))
    with pytest.raises(OptionError, match=r"blur_ig blurs pictures and signals.*\(1, 7\)"):
        explainer.attribute(noise(1, 7), "blur_ig", 0)
    with pytest.raises(LayerError, match=r"No layer .* rows and columns.*such as occlusion"):
        explainer.attribute(noise(1, 7), "scorecam", 0)


def test_input_without_a_declared_shape() -> None:
    made = linear("7", noise(2, 7))
    made.graph.input[0].type.tensor_type.ClearField("shape")
    found = Explainer(made).attribute(noise(2, 7, seed=1), "occlusion", 0, window=1, fill="zeros")
    assert_allclose(found.values, noise(2, 7)[:1] * noise(2, 7, seed=1), atol=1e-5)


TWO = "g (float[N,3,4,5] x, float[N,2] z, float[2] scale) => (float[N,2] y)"
TWO_BODY = "{ f = Flatten(x) m = MatMul(f, w) s = Mul(m, scale) y = Add(s, z) }"


def test_other_inputs_are_given_per_sample_or_for_all() -> None:
    weights = noise(60, 2)
    made = model(TWO + TWO_BODY, w=weights)
    x, z, scale = noise(3, 3, 4, 5, seed=1), noise(3, 2, seed=2), np.array([2.0, 3], np.float32)
    explainer = Explainer(made, preprocess=AS_IT_IS)
    given = {"x": x, "z": z, "scale": scale}
    found = explainer.attribute(given, "occlusion", 1, window=1, fill="zeros")
    assert_allclose(found.scores, 3 * x.reshape(3, -1) @ weights[:, 1] + z[:, 1], rtol=1e-4)
    expected = 3 * (weights[:, 1].reshape(3, 4, 5) * x).sum(axis=1)
    assert_allclose(found.values[:, 0], expected, atol=2e-5)

    # The explainer's own settings are used if no others are given.
    fixed = Explainer(made, preprocess=AS_IT_IS, inputs={"z": z[:1].tolist(), "scale": [2, 3]})
    one = fixed.attribute(x[:1], "occlusion", 1, window=1, fill="zeros")
    assert_array_equal(one.values, found.values[:1])
    in_a_picture = fixed.explain(PICTURE, "occlusion", 1).score
    other = fixed.attribute({"x": x[:1], "z": z[2:]}, "occlusion", 1)
    assert_allclose(other.scores, one.scores - z[0, 1] + z[2, 1], rtol=1e-4)
    assert fixed.explain(PICTURE, "occlusion", 1).score == in_a_picture


@pytest.mark.parametrize(
    ("x", "error", "sentence"),
    [
        (noise(3, 20, 26), OptionError, r"takes 4 axes, the batch first.*\(3, 20, 26\)"),
        (noise(0, 3, 20, 26), OptionError, r"shape \(0, 3, 20, 26\)"),
        (noise(1, 3, 20, 25), OptionError, r"of shape \(3, 20, 26\).*\(3, 20, 25\)"),
        ({"y": noise(1, 3, 20, 26)}, OptionError, "no value for the input 'x'"),
        ({"x": noise(1, 3, 20, 26), "z": noise(1)}, OptionError, "no input 'z'"),
        (noise(1, 3, 20, 26) * np.nan, MapError, "for this input is NaN or infinite"),
    ],
)
def test_arrays_that_do_not_fit(
    net_r: Explainer, x: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        net_r.attribute(x, "occlusion", 0)


def test_number_of_targets_and_samples(net_r: Explainer) -> None:
    with pytest.raises(TargetError, match="2 targets for 3 samples"):
        net_r.attribute(noise(3, 3, 20, 26), "cam", [0, 1])


@every_method
def test_a_batch_of_different_samples_equals_one_by_one(net_r: Explainer, method: str) -> None:
    x, targets = noise(3, 3, 20, 26), [0, "top1", 4]
    options = OPTIONS.get(method, {})
    batch = net_r.attribute(x, method, targets, **options)
    singles = [net_r.attribute(x[i : i + 1], method, targets[i], **options) for i in range(len(x))]
    expected = np.concatenate([single.values for single in singles])
    assert_allclose(batch.values, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    scores = np.concatenate([single.scores for single in singles])
    assert_allclose(batch.scores, scores, rtol=1e-5)
    assert batch.targets == tuple(single.targets[0] for single in singles)
    assert np.ptp(batch.values, axis=0).max() > 1e-3


@every_method
@pytest.mark.parametrize("declared", ["N", 1, 3])
def test_results_do_not_depend_on_the_batch_size(method: str, declared: str | int) -> None:
    """Nor on whether the model takes any batch, was rewritten for it, or takes only three."""
    x, options = noise(1, 3, 20, 26), OPTIONS.get(method, {})
    free = of_batches_of_one(method)
    made = nets.net_r()
    for value in (*made.graph.input, *made.graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        batch.Clear()
        if declared == "N":
            batch.dim_param = "N"
        else:
            batch.dim_value = declared
    for size in (2, 5, 64, None):
        found = Explainer(made, batch_size=size).attribute(
            x, method, 1, **options, **ZEROS.get(method, {})
        )
        scale = np.abs(free.values).max()
        assert_allclose(found.values, free.values, rtol=0, atol=2e-6 * scale)
        assert_allclose(found.scores, free.scores, rtol=1e-6)


@functools.cache
def of_batches_of_one(method: str) -> Attribution:
    return Explainer(nets.net_r(), batch_size=1).attribute(
        noise(1, 3, 20, 26), method, 1, **OPTIONS.get(method, {}), **ZEROS.get(method, {})
    )


ZEROS: dict[str, dict[str, str]] = {
    "scorecam": {"baseline": "zeros"},
    "occlusion": {"fill": "zeros"},
    "rise": {"baseline": "zeros"},
}


def test_another_input_of_another_size_makes_other_layers() -> None:
    text = """g (float[1,3,4,4] x, float[1,P,4,4] more) => (float[1,C] y)
        { n = Concat<axis=1>(x, more) y = ReduceMean<axes=[2,3], keepdims=0>(n) }"""
    explainer = Explainer(model(text), explain_input="x", inputs={"more": noise(1, 1, 4, 4)})
    for channels in (1, 3):
        fed = {"x": noise(1, 3, 4, 4), "more": noise(1, channels, 4, 4)}
        found = explainer.attribute(fed, "feature_maps", layer="n").values
        assert found.shape == (1, 3 + channels, 4, 4)
        assert explainer.layer("n", fed["x"]).channels == 3 + channels


def scaled() -> Explainer:
    """S = k Σ x² for another input k."""
    text = """g (float[N,3,4,4] x, float[N,1] k) => (float[N,1] y) { s = Mul(x, x) f = Flatten(s)
        r = ReduceSum<keepdims=1>(f, one) y = Mul(r, k) }"""
    made = model(text)
    made.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    return Explainer(made, inputs={"k": np.ones((1, 1), np.float32)}, preprocess=AS_IT_IS)


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_other_inputs_of_one_call_are_not_those_of_another(method: str) -> None:
    """Between the batches of a loop over pictures, too."""
    explainer, x = scaled(), noise(1, 3, 4, 4)
    pictures = [noise_picture(4, 4)] * 40
    scores = []
    for found in explainer.explain_many(pictures, method, 0, **OPTIONS.get(method, {})):
        scores.append(found.score)
        explainer.attribute({"x": x, "k": np.full((1, 1), 5, np.float32)}, method, 0)
    assert_allclose(scores, (pictures[0].astype(np.float64) ** 2).sum(), rtol=1e-6)


@every_method
def test_results_do_not_depend_on_how_many_runs_go_on_at_once(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, options = noise(12, 3, 20, 26), OPTIONS.get(method, {})
    found = []
    for cores in (1, 5):
        monkeypatch.setattr(backend, "cores", lambda cores=cores: cores)
        found.append(Explainer(nets.net_r()).attribute(x, method, 1, **options))
    scale = np.abs(found[0].values).max()
    assert_allclose(found[1].values, found[0].values, rtol=0, atol=2e-6 * scale)
    assert_allclose(found[1].scores, found[0].scores, rtol=1e-6)
    kept = [[one.get("forward_passes") for one in a.diagnostics["samples"]] for a in found]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("method", ["gradient", "occlusion", "smoothgrad"])
def test_runs_at_once_are_fed_the_other_inputs_of_their_call(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next call uses its own inputs; S = k Σ x² has maps in proportion to k."""
    monkeypatch.setattr(backend, "cores", lambda: 4)
    explainer, x, options = scaled(), noise(16, 3, 4, 4), OPTIONS.get(method, {})
    maps = [
        explainer.attribute({"x": x, "k": np.full((1, 1), k, np.float32)}, method, 0, **options)
        for k in (1, 3)
    ]
    assert_allclose(maps[1].values, 3 * maps[0].values, rtol=1e-3)


def test_threads_have_other_inputs_of_their_own() -> None:
    explainer, x = scaled(), noise(1, 3, 4, 4)
    numbers = np.arange(1, 41, dtype=np.float32)

    def gradient(k: float) -> Any:
        given = {"x": x, "k": np.full((1, 1), k, np.float32)}
        return explainer.attribute(given, "gradient", 0).values[0]

    gradient(1)
    with ThreadPoolExecutor(4) as pool:
        for k, found in zip(numbers, pool.map(gradient, numbers), strict=True):
            assert_allclose(found, 2 * k * x[0], rtol=1e-5)


@pytest.mark.parametrize("method", ["gradient", "eigencam"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_first_sample_that_is_not_finite(method: str, value: float) -> None:
    x = noise(20, *INPUT)
    x[0] = value
    explainer = Explainer(nets.net_r())
    with pytest.raises(MapError, match=r"NaN or infinite|not finite"):
        explainer.attribute(x, method, 2)
    assert np.isfinite(explainer.attribute(x[1:], method, 2).values).all()
    assert "in batches" in explainer.batching(x[1:2])


def test_small_gradients_do_not_vanish() -> None:
    """float32 has numbers down to 1e-38, but not their squares."""
    text = """g (float[N,3,6,6] x) => (float[N,1] y) { a = Conv(x, k) r = Relu(a)
        p = GlobalAveragePool(r) f = Flatten(p) y = MatMul(f, w) }"""
    k, w, x = noise(4, 3, 1, 1), np.abs(noise(4, 1, seed=1)), noise(1, 3, 6, 6, seed=2)

    def found(scale: float, method: str) -> Any:
        explainer = Explainer(model(text, k=k, w=np.float32(scale) * w))
        return explainer.attribute(x, method, 0, layer="r").values[0]

    # Without the third power α is 1/2 wherever the gradient, w / 36, is not 0.
    activation = np.maximum(np.einsum("ok,khw->ohw", k[..., 0, 0], x[0]), 0)
    expected = np.einsum("o,ohw->hw", w[:, 0] / 2, activation)
    assert_allclose(found(1e-28, "gradcam++") * 1e28, expected, rtol=1e-5)
    plain = found(1, "eigengradcam")
    assert_allclose(found(1e-28, "eigengradcam") * 1e28, plain, atol=1e-5 * np.abs(plain).max())
