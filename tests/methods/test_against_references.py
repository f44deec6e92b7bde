"""Every gradient-free method, through the public interface, gives what its paper's formula gives.

The references are slow and share no code with the package. On the small nets they compare
everything; on the shipped models only layers with few channels, and few windows and masks.
"""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from references.layer import ablationcam, cam, eigencam, fem, kpcacam, reciprocam
from references.perturbation import (
    occlusion,
    rise,
    rise_expectation_linear,
    rise_second_moment,
    seeded_rise_masks,
)
from references.perturbation import scorecam as reference_scorecam
from scipy.ndimage import gaussian_filter

from onnxplain import Explainer
from onnxplain.errors import LayerError, OptionError
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.cam import FEM, KPCACAM
from tools.cases import nets
from tools.cases.models import CASES, Array, Case
from tools.cases.onnx_calls import load


def close(found: Array, expected: Array, tolerance: float) -> None:
    """`tolerance` is in units of the largest value."""
    assert found.dtype == np.float32
    assert np.ptp(expected) > 1e-3 * np.abs(expected).max(), "the case shows nothing"
    assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# --- nets with answers by hand ------------------------------------------------------------------

NET_T = [
    ("ablationcam", {"layer": "conv"}, nets.NET_T_ABLATIONCAM["conv"]),
    ("ablationcam", {"layer": "relu"}, nets.NET_T_ABLATIONCAM["relu"]),
    ("reciprocam", {"layer": "conv"}, nets.NET_T_RECIPROCAM),
    ("reciprocam", {"layer": "relu"}, nets.NET_T_RECIPROCAM),
    ("eigencam", {"layer": "relu"}, nets.NET_T_EIGENCAM),
    ("scorecam", {"layer": "conv"}, nets.NET_T_SCORECAM_PROBABILITY["conv"]),
    ("scorecam", {"layer": "relu"}, nets.NET_T_SCORECAM_PROBABILITY["relu"]),
    ("feature_maps", {"layer": "conv"}, nets.NET_T_ACTIVATIONS["conv"]),
    ("feature_maps", {}, nets.NET_T_ACTIVATIONS["relu"]),
    ("occlusion", {"window": 2, "stride": 2}, nets.NET_T_OCCLUSION_2_2[None]),
    ("occlusion", {"window": (3, 3), "stride": 2}, nets.NET_T_OCCLUSION_3_2[None]),
    ("occlusion", {"window": 4}, np.full((1, 4, 4), nets.NET_T_SCORE)),
]


@pytest.mark.parametrize(("method", "options", "expected"), NET_T)
def test_net_t(method: str, options: dict[str, Any], expected: Array) -> None:
    case = CASES["net_t"]()
    assert_allclose(case.attribute(method, **options), expected, rtol=1e-6, atol=1e-6)


def test_cam_of_net_t_is_refused_for_it_has_no_pool() -> None:
    with pytest.raises(LayerError, match=r"global average or max pooling.*ablationcam"):
        CASES["net_t"]().attribute("cam")


@pytest.mark.parametrize("pooling", sorted(nets.NET_P_LOGITS))
def test_net_p(pooling: str) -> None:
    explainer = Explainer(nets.net_p(pooling), preprocess={"layout": "NCHW"})
    batch, every = np.repeat(nets.NET_P_INPUT, 3, axis=0), [0, 1, 2]
    found = explainer.attribute(batch, "cam", every)
    assert_allclose(found.values, nets.NET_P_CAM)
    assert_allclose(found.scores, nets.NET_P_LOGITS[pooling])
    assert found.diagnostics["samples"][0]["pooling"] in pooling.lower()
    cells = explainer.attribute(batch, "reciprocam", every).values
    if pooling == "GlobalAveragePool":
        assert_allclose(cells, nets.NET_P_CAM / 4 + nets.NET_P_BIAS[:, None, None], atol=1e-6)
    else:
        # One cell of two channels, (1, 4), (2, 0), (3, 0), (4, 2): its maxima are itself.
        assert_allclose(cells, nets.NET_P_CAM + nets.NET_P_BIAS[:, None, None], atol=1e-6)


# --- maps from a layer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "score"),
    [
        *[
            ("net_r", layer, kind)
            for layer in ("conv1", "relu2")
            for kind in ("logit", "probability")
        ],
        ("net_r", "conv2", "logit"),
        ("efficientnet", "blocks.0.0/project", "probability"),
        ("efficientnet", "blocks.0.0/project", "logit"),
        ("squeezenet", "fire2/squeeze1x1/relu", "probability"),
        ("squeezenet", "fire3/squeeze1x1", "logit"),
    ],
)
def test_scorecam(name: str, layer: str, score: str) -> None:
    case = CASES[name]()
    found = case.attribute("scorecam", layer=layer, score=score)
    expected = reference_scorecam(case.run(layer)[0], case.x, case.black, case.score(score))
    close(found, expected, 2e-5)


@pytest.mark.slow
def test_scorecam_of_every_channel_of_efficientnet() -> None:
    case = CASES["efficientnet"]()
    activation = case.run("head/relu6")[0]
    assert len(activation) == 1280
    expected = reference_scorecam(activation, case.x, case.black, case.score("probability"))
    close(case.attribute("scorecam"), expected, 2e-5)


HEADS = [
    ("net_r", "conv1"),
    ("net_r", "relu2"),
    ("efficientnet", "head/relu6"),
    ("efficientnet", "blocks.6.0/project"),  # signed
    ("efficientnet", "blocks.5.3/project"),  # with a residual connection
    ("squeezenet", "fire9/squeeze1x1/relu"),
    ("squeezenet", "fire9/expand1x1/relu"),  # with another branch
]


@pytest.mark.parametrize(("name", "layer"), HEADS)
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_ablationcam(name: str, layer: str, score: str) -> None:
    case = CASES[name]()
    expected = ablationcam(case.run(layer)[0], case.score(score, at=layer))
    close(case.attribute("ablationcam", layer=layer, score=score), expected, 1e-4)


@pytest.mark.parametrize(("name", "layer"), HEADS)
def test_reciprocam(name: str, layer: str) -> None:
    case = CASES[name]()
    expected = reciprocam(case.run(layer)[0], case.score("logit", at=layer))
    close(case.attribute("reciprocam", layer=layer), expected, 1e-5)


@pytest.mark.parametrize(
    ("name", "layer", "rows"),
    [
        ("net_r", "relu2", "rows"),
        ("efficientnet", "head/relu6", "classifier.weight"),
        ("squeezenet", "conv10/relu", None),  # the pooled channels are the classes
    ],
)
def test_cam(name: str, layer: str, rows: str | None) -> None:
    case = CASES[name]()
    activation = case.run(layer)[0]
    weights = np.eye(len(activation)) if rows is None else case.weights(rows)
    close(case.attribute("cam"), cam(activation, weights[case.index]), 1e-5)


@pytest.mark.parametrize(("name", "layer"), HEADS)
def test_eigencam(name: str, layer: str) -> None:
    case = CASES[name]()
    found = case.attribute("eigencam", layer=layer)
    expected = eigencam(case.run(layer)[0])
    # A singular vector has no sign. The reference makes the largest magnitude positive, the
    # package the sum. Both are the same if the map has one sign.
    close(found, np.sign(expected.sum()) * expected, 1e-5)
    assert found.sum() > 0


@pytest.mark.parametrize(("name", "layer"), HEADS)
def test_kpcacam(name: str, layer: str) -> None:
    case = CASES[name]()
    activation = case.run(layer)[0]
    close(case.attribute("kpcacam", layer=layer), kpcacam(activation), 1e-5)


def test_kpcacam_of_equal_cells() -> None:
    activation = np.ones((1, 3, 4, 5), np.float32)
    assert not KPCACAM().map(NUMPY, activation).any()
    case = CASES["net_t"]()
    flat = case.explainer.attribute(np.zeros_like(case.x), "kpcacam", layer="relu")
    (sentence,) = flat.diagnostics["samples"][0]["warnings"]
    assert "all cells of this layer are the same" in sentence


def test_kpcacam_refuses_a_layer_of_many_cells() -> None:
    case = CASES["efficientnet"]()
    with pytest.raises(LayerError, match="has 12544 cells, and kpcacam compares every two of at"):
        case.attribute("kpcacam", layer="stem/relu6")


@pytest.mark.parametrize("deviations", [1, 2])
@pytest.mark.parametrize(("name", "layer"), HEADS)
def test_fem(name: str, layer: str, deviations: int) -> None:
    case = CASES[name]()
    activation = case.run(layer)[0]
    if np.isclose(deviations, np.sqrt(activation[0].size - 1)) or activation[0].size < 6:
        pytest.skip("no cell of so small a grid is so far above the mean")
    found = case.attribute("fem", layer=layer, deviations=deviations)
    close(found, fem(activation, deviations), 1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_fem_of_one_strong_cell(scale: float) -> None:
    """One cell of 20 is √19 deviations above the mean; 10 equal cells of 20 are one above it."""
    activation = np.zeros((1, 3, 4, 5), np.float32)
    activation[0, 0, 1, 2] = scale
    activation[0, 1, :2] = scale
    activation[0, 2] = 0.1 * scale  # the same everywhere: no cell is above the mean
    expected = activation[:, 0] / 20
    assert_allclose(FEM().map(NUMPY, activation), expected, rtol=1e-6)
    assert not FEM(deviations=4.4).map(NUMPY, activation).any()


def test_fem_without_a_strong_cell() -> None:
    case = CASES["net_t"]()
    found = case.explainer.attribute(case.x, "fem", layer="relu", deviations=5)
    (sentence,) = found.diagnostics["samples"][0]["warnings"]
    assert "no cell of this layer is that many" in sentence


@pytest.mark.parametrize("deviations", [0.5, -2, float("nan"), float("inf")])
def test_fem_refuses_deviations(deviations: float) -> None:
    case = CASES["net_t"]()
    with pytest.raises(OptionError, match="fem takes deviations of at least 1"):
        case.attribute("fem", deviations=deviations)


@pytest.mark.parametrize(("name", "layer"), HEADS)
def test_feature_maps(name: str, layer: str) -> None:
    case = CASES[name]()
    assert_allclose(case.attribute("feature_maps", layer=layer), case.run(layer)[0], atol=1e-5)


# --- maps from a changed input ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "window", "stride"),
    [
        ("net_r", (6, 6), (4, 4)),  # 20 = 6 + 3 * 4 + 2: the last window is clipped
        ("net_r", (5, 13), (5, 13)),  # no overlap, nothing clipped
        ("net_r", (20, 8), (20, 6)),  # as high as the picture
        ("net_r", (20, 26), (7, 9)),  # the picture
        ("net_r", 7, 3),
        ("net_r", (1, 26), 1),
        ("net_r", None, None),
        ("efficientnet", (80, 70), 60),
        ("squeezenet", (80, 70), (60, 50)),
    ],
)
def test_occlusion(name: str, window: Any, stride: Any) -> None:
    case = CASES[name]()
    found = case.attribute("occlusion", window=window, stride=stride)
    # By default the window is a fifth of the input, and the stride a quarter of the window.
    windows = np.broadcast_to((4, 5) if window is None else window, 2)
    strides = np.broadcast_to(1 if stride is None else stride, 2)
    expected = occlusion(case.x, case.score(), (3, *windows), (3, *strides), case.black)[0]
    assert_allclose(found, expected, rtol=0, atol=1e-5 * abs(case.score()(case.x)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("net_r", {"samples": 50}),
        ("net_r", {"samples": 50, "seed": 3, "grid": 4, "keep": 0.3, "score": "logit"}),
        ("net_r", {"samples": 10, "grid": 2}),
        ("net_r", {"samples": 10, "grid": 30}),  # cells of one pixel, more than the picture has
        ("efficientnet", {"samples": 12, "keep": 0.7}),
        ("squeezenet", {"samples": 12, "seed": 1, "grid": 5}),
    ],
)
def test_rise(name: str, options: dict[str, Any]) -> None:
    case = CASES[name]()
    own = {"grid": 7, "keep": 0.5, "seed": 0, "score": "probability"} | options
    score = case.score(own.pop("score"))
    height, width = case.x.shape[2:]
    masks = seeded_rise_masks(**own, size=(height, width))
    expected = rise(case.x, case.black, score, masks, own["keep"])
    close(case.attribute("rise", **options), np.broadcast_to(expected, (3, height, width)), 2e-5)


def linear_model() -> tuple[Case, Array, float]:
    """S(x) = 0.7 + <gradient, x>, for pictures of 6 x 9 pixels."""
    random = np.random.default_rng(2)
    gradient, x = random.normal(size=(2, 1, 2, 6, 9)).astype(np.float32)
    text = """<ir_version: 8, opset_import: ["": 13]> g (float[N,2,6,9] x) => (float[N,1,1,1] y)
        <float[1] bias = {0.7}> { y = Conv<kernel_shape=[6,9]>(x, gradient, bias) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(gradient, "gradient"))
    return Case(load(model), Explainer(model), x, 0, "x", "y"), gradient, 0.7


def test_rise_of_a_linear_score_is_the_closed_form() -> None:
    case, gradient, bias = linear_model()
    samples, grid, keep, size = 3000, 3, 0.4, (6, 9)
    baseline = np.random.default_rng(5).normal(0, 0.2, case.x.shape).astype(np.float32)
    found = case.attribute(
        "rise", samples=samples, grid=grid, keep=keep, seed=7, baseline=baseline, score="logit"
    )

    def map_of(mean: Array, second_moment: Array) -> Array:
        return rise_expectation_linear(
            gradient,
            case.x,
            baseline,
            score_of_baseline=float((gradient * baseline).sum() + bias),
            mean=mean,
            second_moment=second_moment,
            p=keep,
        )

    masks = seeded_rise_masks(samples, grid, keep, 7, size)
    flat = masks.reshape(samples, -1)
    assert_allclose(found[0], map_of(masks.mean(axis=0), flat.T @ flat / samples), atol=1e-4)

    # And it is close to the expectation over all masks, within the error of so many samples.
    expected = map_of(np.full(size, keep), rise_second_moment(size, grid, keep))
    pull = (gradient * (case.x - baseline)).sum(axis=(0, 1))
    scores = (gradient * baseline).sum() + bias + flat @ pull.ravel()
    terms = scores[:, None] * flat / keep
    standard_error = terms.std(axis=0).reshape(size) / np.sqrt(samples)
    assert np.abs((found[0] - expected) / standard_error).max() < 4.5
    assert np.ptp(expected) > 15 * standard_error.max()


# --- options ------------------------------------------------------------------------------------

GIVEN = np.random.default_rng(4).normal(size=(3, 20, 26)).astype(np.float32)
COLORS = {"black": 0, "white": 255, "gray": 127.5}


def absent(name: str, x: Array) -> Array:
    """The baseline of net R, whose means are 120, 110, 100 and deviations 50, 60, 70."""
    if name in COLORS:
        color = (COLORS[name] - np.array([120, 110, 100])) / [50, 60, 70]
        return np.broadcast_to(color[:, None, None], x.shape).astype(np.float32)
    return {
        "mean": lambda: np.broadcast_to(x.mean(axis=(2, 3), keepdims=True), x.shape),
        # A tenth of the longer side, cut off at four of them.
        "blur": lambda: gaussian_filter(x, (0, 0, 2.6, 2.6), mode="nearest", radius=(0, 0, 11, 11)),
        "zeros": lambda: np.zeros_like(x),
        "array": lambda: np.broadcast_to(GIVEN, x.shape),
        "number": lambda: np.full_like(x, -0.5),
    }[name]()


@pytest.mark.parametrize("name", [*COLORS, "mean", "blur", "zeros", "array", "number"])
def test_baseline(name: str) -> None:
    case = CASES["net_r"]()
    given = {"array": GIVEN, "number": -0.5}.get(name, name)
    baseline = absent(name, case.x)
    score, probability = case.score(), case.score("probability")
    close(
        case.attribute("occlusion", window=6, stride=4, fill=given),
        occlusion(case.x, score, (3, 6, 6), (3, 4, 4), baseline)[0],
        2e-5,
    )
    close(
        case.attribute("scorecam", layer="relu1", baseline=given),
        reference_scorecam(case.run("relu1")[0], case.x, baseline, probability),
        2e-5,
    )
    masks = seeded_rise_masks(20, 7, 0.5, 0, (20, 26))
    close(
        case.attribute("rise", samples=20, baseline=given)[0],
        rise(case.x, baseline, probability, masks, 0.5),
        2e-5,
    )


def test_a_layer_is_called_by_its_node_or_its_tensor_and_auto_is_the_last_with_a_grid() -> None:
    case = CASES["efficientnet"]()
    by_default = case.attribute("feature_maps")
    assert_array_equal(by_default, case.attribute("feature_maps", layer="head/relu6"))
    assert case.explainer.attribute(case.x, "eigencam", 0).layer == "head/relu6"
    with pytest.raises(LayerError, match=r"'head/relu'.*head/relu6"):
        case.attribute("eigencam", layer="head/relu")
    with pytest.raises(LayerError, match="no spatial grid"):
        case.attribute("eigencam", layer="pool")


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("occlusion", {"window": 3, "stride": 4}, "between windows"),
        ("occlusion", {"window": (3, 27)}, "between 1 and the input's 26"),
        ("occlusion", {"window": 0}, "between 1 and"),
        ("occlusion", {"window": (3, 3, 3)}, "one number or 2, not 3"),
        ("occlusion", {"stride": 2.5}, "takes a number of pixels"),
        ("occlusion", {"fill": "purple"}, "no baseline 'purple': choose black"),
        ("occlusion", {"fill": np.zeros((4, 1, 1))}, r"shape \(4, 1, 1\)"),
        ("rise", {"samples": 0}, "samples >= 1"),
        ("rise", {"samples": 1.5}, "takes a whole number as samples"),
        ("rise", {"samples": "many"}, "takes a whole number as samples"),
        ("rise", {"keep": 0}, "0 < keep <= 1"),
        ("rise", {"grid": 0}, "grid >= 1"),
        ("rise", {"seed": -1}, "seed >= 0"),
        ("scorecam", {"score": "softmax"}, "'logit' or 'probability' as score, not 'softmax'"),
        ("scorecam", {"layer": 3}, "takes a name as layer"),
        (
            "scorecam",
            {"samples": 3},
            "no option 'samples'; its own are smooth, score, layer, fuse, baseline",
        ),
        ("score-cam", {}, "no method 'score-cam'.*scorecam"),
    ],
)
def test_a_wrong_option_is_named(method: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        CASES["net_r"]().attribute(method, **options)


def test_a_channel_that_the_layer_does_not_have() -> None:
    with pytest.raises(LayerError, match="no channel 8: it has 8, 0 to 7"):
        CASES["net_r"]().attribute("feature_maps", channel=8)


# --- work ---------------------------------------------------------------------------------------


def half_dead_net_r() -> onnx.ModelProto:
    """Net R, whose channels 1 and 4 at `relu2` are always 0 and whose channel 6 is always 2."""
    model = nets.net_r()
    for weight in model.graph.initializer:
        if weight.name in ("kernel2", "bias2"):
            values = onnx.numpy_helper.to_array(weight).copy()
            values[[1, 4, 6]] = 0 if weight.name == "kernel2" else [-3, -1, 2]
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return load(model)


@pytest.fixture(scope="module")
def half_dead() -> Case:
    net_r = CASES["net_r"]()
    model = half_dead_net_r()
    explainer = Explainer(model, preprocess=net_r.explainer.preprocess, batch_size=4)
    return Case(model, explainer, net_r.x, net_r.index, "x", "y")


def test_channels_that_are_skipped_count_as_the_formula_says(half_dead: Case) -> None:
    activation = half_dead.run("relu2")[0]
    assert_array_equal(np.ptp(activation, axis=(1, 2)) == 0, np.isin(np.arange(8), [1, 4, 6]))
    for score in ("logit", "probability"):
        expected = reference_scorecam(
            activation, half_dead.x, half_dead.black, half_dead.score(score)
        )
        close(half_dead.attribute("scorecam", score=score), expected, 2e-5)
    expected = ablationcam(activation, half_dead.score("logit", at="relu2"))
    close(half_dead.attribute("ablationcam"), expected, 1e-5)


@pytest.mark.parametrize(
    ("method", "options", "changed"),
    [
        ("scorecam", {}, 5),  # of 8 channels, 3 are constant
        ("ablationcam", {}, 7),  # of 8 channels, 2 are zero; and the layer as it is
        ("reciprocam", {}, 35),
        ("cam", {}, 0),
        ("eigencam", {}, 0),
        ("feature_maps", {}, 0),
        ("occlusion", {"window": 6, "stride": 4}, 5 * 6),
        ("rise", {"samples": 10}, 10),
    ],
)
def test_session_runs(half_dead: Case, method: str, options: dict[str, Any], changed: int) -> None:
    explainer = half_dead.explainer
    half_dead.attribute("occlusion", window=(20, 26))  # how the model takes batches is known now
    half_dead.attribute("cam")  # and that a finished graph answers as the model does
    reports: list[tuple[int, int]] = []
    explainer.on_progress(lambda done, total: reports.append((done, total)))
    before = explainer.session_runs
    half_dead.attribute(method, **options)
    # The sample itself, Score-CAM's baseline, and the changed samples in batches of four.
    assert explainer.session_runs - before == 1 + (method == "scorecam") + -(-changed // 4)
    assert reports == [
        (min(4 * i, changed), changed) for i in range(-(-changed // 4) + 1) if changed
    ]


def test_the_first_batch_is_proved_by_three_single_runs_and_one_of_three() -> None:
    net_r = CASES["net_r"]()
    explainer = Explainer(net_r.model, preprocess=net_r.explainer.preprocess, batch_size=4)
    explainer.attribute(net_r.x, "occlusion", 0, fill="zeros", window=(20, 26))
    assert explainer.session_runs == 1 + 4 + 1


def test_a_grid_finer_than_the_input_may_vanish_on_it() -> None:
    """Channel 0 alternates v, -v in pairs of columns: enlarged to the input, it is 0 everywhere."""
    text = """<ir_version: 8, opset_import: ["": 13]> g (float[N,1,4,4] x) => (float[N,2] y)
        <float[1,2,1,2] kernel = {1, -1, 1, 1}>
        { a = ConvTranspose<strides=[1,2]>(x, kernel) p = GlobalMaxPool(a) y = Flatten(p) }"""
    explainer = Explainer(onnx.parser.parse_model(text), preprocess={"scale": 1})
    x = np.random.default_rng(0).random((1, 1, 4, 4)).astype(np.float32)
    found = explainer.attribute(x, "scorecam", 0, layer="a", score="logit", baseline="zeros")
    # C_0 = 0, and channel 1 is x twice over: C_1 is the largest value of x times its own mask.
    channels = np.stack([np.kron(x[0, 0], [1, -1]), np.kron(x[0, 0], [1, 1])])
    gain = (x * (x - x.min()) / (x.max() - x.min())).max()
    weights = np.exp([0, gain]) / np.exp([0, gain]).sum()
    expected = np.maximum(np.tensordot(weights, channels, axes=1), 0)
    assert_allclose(found.values[0], expected, rtol=1e-5, atol=1e-6)
