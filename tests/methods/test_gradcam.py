"""Grad-CAM and similar methods: maps by hand, the papers' formulas, and the cost of a run."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references import gradcam as reference
from references.resize import upsample_half_pixel
from scipy.special import softmax
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import LayerError, MapError, OptionError, TargetError
from onnxplain.formulas.noise import normal
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.results.render.sheet import contact_sheet
from onnxplain.runtime.session import Session
from onnxplain.targets import Mask, Similarity
from onnxplain.targets.contrast import Opposite
from tools.cases import nets
from tools.cases.models import CASES, Array

# --- net T --------------------------------------------------------------------------------------

# Gradients of T, cell by cell: at `relu` (1, 1, 1, 1) and (1, -1, -1, -1), at `conv` the same but 0
# where the Relu is not active: (0, 1, 1, 1) and (0, 0, -1, -1).
A1, A2 = nets.NET_T_ACTIVATIONS["relu"]
Z1, Z2 = nets.NET_T_ACTIVATIONS["conv"]
SIGNED = {"relu": False}
NET_T: list[tuple[str, str, dict[str, Any], Array]] = [
    # The means are 3/4 and -2/4 at `conv`, 1 and -2/4 at `relu`.
    ("gradcam", "conv", SIGNED, np.array([[11.25, 13.5], [20.25, 22.5]])),
    ("gradcam", "conv", {}, np.array([[11.25, 13.5], [20.25, 22.5]])),
    ("gradcam", "relu", {}, A1 - A2 / 2),
    ("gradcam", "conv", SIGNED | {"counterfactual": True}, Z2 / 2 - 0.75 * Z1),
    ("gradcam", "relu", {"counterfactual": True}, np.zeros((2, 2))),
    # Channel sums are 75 and 21: alpha = 1 / (2 + 75) in four cells, 1 / (2 + 21) in one; where g
    # is -1 its ReLU is 0. At `conv` the first sum is 70, and the second channel has no g above 0.
    ("gradcam++", "relu", {}, 4 / 77 * A1 + 1 / 23 * A2),
    ("gradcam++", "conv", {}, 3 / 72 * A1),
    ("smooth_gradcam++", "relu", {"noise": 0}, 4 / 77 * A1 + 1 / 23 * A2),
    ("smooth_gradcam++", "relu", {"noise": 0, "only_channels": "1"}, A2 / 23),
    ("smooth_gradcam++", "relu", {"noise": 0, "only_neurons": "1x1"}, A1 / 77),
    ("smooth_gradcam++", "relu", {"noise": 0, "only_neurons": [(0, 0)]}, A1 / 77 + A2 / 23),
    # sum A g / sum A: 75/75 and -21/21 at `relu`, 75/70 and (-6 - 15)/-30 at `conv`.
    ("xgradcam", "relu", {}, A1 - A2),
    ("xgradcam", "conv", {}, np.maximum(75 / 70 * Z1 + 21 / 30 * Z2, 0)),
    ("hirescam", "relu", {}, A1 - A2),
    ("hirescam", "conv", {}, A1 - A2),
    ("layercam", "relu", {}, A1),
    ("layercam", "conv", {}, A1),
    # Second moments of (A1, -A2): those of Eigen-CAM with the sign of 786 changed.
    ("eigengradcam", "relu", {}, nets.NET_T_EIGENCAM),
]


@pytest.mark.parametrize(("method", "layer", "options", "expected"), NET_T)
def test_net_t(method: str, layer: str, options: dict[str, Any], expected: Array) -> None:
    found = CASES["net_t"]().attribute(method, layer=layer, **options)
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_guided_gradcam_of_net_t() -> None:
    # In channel 1 all windows but the first are active and count. Channel 2 does not count.
    guided = np.zeros((4, 4))
    for row, column in ((0, 1), (1, 0), (1, 1)):
        guided[row : row + 3, column : column + 3] += 1
    coarse = upsample_half_pixel(A1 - A2 / 2, (4, 4))
    found = CASES["net_t"]().attribute("guided_gradcam", layer="relu")
    assert_allclose(found[0], coarse * guided, rtol=1e-5)


# --- where CAM applies --------------------------------------------------------------------------


def test_gradcam_is_cam_divided_by_the_number_of_cells() -> None:
    explainer = Explainer(nets.net_p(), preprocess={"layout": "NCHW"})
    batch = np.repeat(nets.NET_P_INPUT, 3, axis=0)
    found = explainer.attribute(batch, "gradcam", [0, 1, 2], relu=False).values
    assert_allclose(found, nets.NET_P_CAM / 4, rtol=1e-6)


@pytest.mark.parametrize("name", ["efficientnet", "squeezenet"])
def test_gradcam_is_cam_on_the_shipped_models(name: str) -> None:
    case = CASES[name]()
    cam = case.attribute("cam")
    found = case.attribute("gradcam", layer=case.explainer.classifier().layer, relu=False)
    assert_allclose(found, cam / cam.size, atol=1e-5 * np.abs(cam).max() / cam.size)


@pytest.mark.parametrize("method", ["cam", "regression_activation_map"])
def test_cam_of_a_sum_of_classes_is_the_sum_of_their_maps(method: str) -> None:
    case = CASES["net_r"]()
    sums = ["1-0", "2-0.6*3", "not:4", "element:2", "1-0", "top1-top2", "0"]
    x = case.x * np.array([1, -1, 2, 1, 0.5, 1, 1], np.float32)[:, None, None, None]
    activations, answers = (case.run(name, x=x).astype(np.float64) for name in ("relu2", "y"))
    rows = case.weights("rows").astype(np.float64)
    best, second = np.argsort(-answers[5])[:2]
    first, *others = rows[1] - rows[0], rows[2] - 0.6 * rows[3], -rows[4], rows[2]
    weights = np.stack([first, *others, first, rows[best] - rows[second], rows[0]])
    found = case.explainer.attribute(x, method, sums)
    expected = np.einsum("nc,nchw->nhw", weights, activations)
    assert_allclose(found.values, expected, rtol=1e-5, atol=1e-5)
    # The mean of each map is the score less the biases.
    bias = case.weights("bias3").astype(np.float64)
    assert_allclose(found.values[1].mean(), found.scores[1] - bias[2] + 0.6 * bias[3], rtol=1e-4)


def test_cam_of_a_target_that_is_no_sum_of_classes_is_refused() -> None:
    case = CASES["net_r"]()
    opposite = Opposite(Similarity(np.ones(5)))
    for target in (opposite, Mask(np.ones(5, np.float32))):
        with pytest.raises(TargetError, match="CAM explains single outputs, their differences"):
            case.explainer.attribute(case.x, "cam", target)


def test_hirescam_adds_up_to_the_score_less_the_bias() -> None:
    case = CASES["net_r"]()
    bias = case.weights("bias3")[case.index]
    total = case.attribute("hirescam", layer="relu2").sum()
    assert_allclose(total, case.run("y")[0, case.index] - bias, rtol=1e-5)


def test_regression_activation_map_adds_up_to_the_prediction() -> None:
    nodes = (
        "a = Conv<pads=[1,1,1,1]>(x, K)  p = GlobalAveragePool(a)  f = Flatten(p)"
        "  m = MatMul(f, W)  y = Add(m, B)"
    )
    weights = {"K": noise(4, 3, 3, 3), "W": noise(4, 1, seed=1), "B": np.full(1, 2.5, np.float32)}
    explainer = Explainer(tiny(nodes, "float[N,3,6,7] x", "float[N,1] y", **weights))
    found = explainer.attribute(noise(1, 3, 6, 7), "regression_activation_map")
    assert found.values.shape == (1, 6, 7)
    assert_allclose(found.values.mean() + 2.5, found.scores[0], rtol=1e-5)


# --- net R, against the formulas ----------------------------------------------------------------

FORMULAS: dict[str, Callable[[Array, Array], Array]] = {
    "gradcam": lambda a, g: reference.rectified(reference.gradcam(a, g)),
    "gradcam++": reference.gradcam_plus_plus,
    "xgradcam": reference.xgradcam,
    "hirescam": reference.hirescam,
    "layercam": reference.layercam,
    "eigengradcam": reference.eigengradcam,
}


def net_r_at(layer: str, x: Array, target: int, score: str) -> tuple[Array, Array]:
    """The activation and the gradient by it, from the weights of the linear layer."""
    case = CASES["net_r"]()
    from tools.cases.models import run

    def value(tensor: str) -> Array:
        return run(case.model, ("x",), tensor)({"x": x})[0].astype(np.float64)

    a, rows, logits = value(layer), case.weights("rows").astype(np.float64), value("y")
    p = softmax(logits)
    slope = np.eye(5)[target] if score == "logit" else p[target] * (np.eye(5)[target] - p)
    g = np.broadcast_to((slope @ rows)[:, None, None] / a[0].size, a.shape)
    return a, g * (a > 0) if layer == "conv2" else g


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("layer", ["conv2", "relu2"])
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_net_r(method: str, layer: str, score: str) -> None:
    case = CASES["net_r"]()
    for target in (1, 3):
        found = case.explainer.attribute(case.x, method, target, layer=layer, score=score)
        expected = FORMULAS[method](*net_r_at(layer, case.x, target, score))
        assert_allclose(found.values[0], expected, atol=1e-5 * np.abs(expected).max())
        assert np.ptp(expected) > 0 or method == "gradcam"


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_smooth_gradcam_plus_plus_of_net_r(score: str) -> None:
    case = CASES["net_r"]()
    options = {"layer": "conv2", "samples": 4, "noise": 0.2, "seed": 3, "score": score}
    found = case.attribute("smooth_gradcam++", **options)
    sigma = np.float32(0.2 * np.ptp(case.x))
    copies = case.x + sigma * normal(NUMPY, 3, case.x.shape[1:])(np.arange(4))
    pairs = [net_r_at("conv2", copy[None], case.index, score) for copy in copies]
    expected = reference.smooth_gradcam_plus_plus(*zip(*pairs, strict=True))
    assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_a_layer_beside_another_way_takes_the_whole_model() -> None:
    nodes = (
        "a = Conv<pads=[1,1,1,1]>(x, K)  b = Tanh(a)  c = Add(a, b)"
        "  p = GlobalAveragePool(c)  f = Flatten(p)  y = MatMul(f, W)"
    )
    weights = {"K": noise(4, 3, 3, 3), "W": noise(4, 3, seed=1)}
    explainer = Explainer(tiny(nodes, "float[N,3,6,6] x", "float[N,3] y", **weights))
    x = noise(1, 3, 6, 6)
    b = explainer.attribute(x, "feature_maps", 1, layer="b").values[0]
    found = explainer.attribute(x, "gradcam", 1, layer="b", relu=False).values[0]
    assert_allclose(found, np.tensordot(weights["W"][:, 1] / 36, b, axes=1), atol=1e-6)


def test_hirescam_is_nothing_in_front_of_a_layer_normalization() -> None:
    nodes = (
        "a = Conv<strides=[2,2]>(x, K)  t = Transpose<perm=[0,2,3,1]>(a)"
        "  n = LayerNormalization<axis=-1, epsilon=1e-9>(t, S)  h = Relu(n)"
        "  p = ReduceMean<keepdims=0>(h, AXES)  y = MatMul(p, W)"
    )
    constants = {
        "K": noise(16, 3, 2, 2),
        "S": noise(16, seed=1),
        "AXES": np.array([1, 2], np.int64),
        "W": noise(16, 3, seed=2),
    }
    explainer = Explainer(tiny(nodes, "float[N,3,8,8] x", "float[N,3] y", opset=18, **constants))
    x = noise(1, 3, 8, 8)
    assert explainer.attribute(x, "layercam", 1, layer="t").values.any()
    assert not explainer.attribute(x, "hirescam", 1, layer="t").values.any()
    eigen = explainer.attribute(x, "eigengradcam", 1, layer="t").values
    assert eigen.sum() > 0


FORMS = ("1,3,6,6", "3,3,6,6", "N,3,H,V")
CONV = (
    "a = Conv<pads=[1,1,1,1]>(x, K)  b = Relu(a)  p = GlobalAveragePool(b)"
    "  f = Flatten(p)  y = MatMul(f, W)"
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layer", ["b", "b,a"])
@pytest.mark.parametrize("method", ["layercam", "smooth_gradcam++"])
def test_whatever_batch_a_model_takes(method: str, layer: str, form: str) -> None:
    weights = {"K": noise(4, 3, 3, 3), "W": noise(4, 3, seed=1)}
    free, fixed = (
        Explainer(tiny(CONV, f"float[{shape}] x", f"float[{shape[0]},3] y", **weights))
        for shape in ("N,3,6,6", form)
    )
    options = {"layer": layer} | ({} if method == "layercam" else {"samples": 4})
    found = fixed.attribute(noise(1, 3, 6, 6), method, 1, **options).values
    expected = free.attribute(noise(1, 3, 6, 6), method, 1, **options).values
    assert expected.any()
    assert_allclose(found, expected, atol=1e-6)


# --- what is run --------------------------------------------------------------------------------


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """What each run reads."""
    seen: list[set[str]] = []
    run = Session.run

    def spied(self: Session, feeds: Any, *arguments: Any) -> Any:
        seen.append(set(feeds) & set(self.inputs))
        return run(self, feeds, *arguments)

    monkeypatch.setattr(Session, "run", spied)
    return seen


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("layer", ["relu2", "relu2,conv1"])
def test_targets_and_layers_share_one_run(fed: list[set[str]], layer: str, score: str) -> None:
    case = CASES["net_r"]()
    picture = np.random.default_rng(0).integers(0, 255, (20, 26, 3), np.uint8)
    case.explainer.explain(picture, "hirescam", 0, layer=layer, score=score)
    fed.clear()  # the first call also proves the graph against the model
    case.explainer.explain_each(picture, "hirescam", [0, 1], layer=layer, score=score)
    targets = {"onnxplain/target/0/code", "onnxplain/target/1/code"}
    assert fed == [{"x"} | targets]


def test_noisy_copies_are_run_once_for_all_layers_and_targets(fed: list[set[str]]) -> None:
    case = CASES["net_r"]()
    picture = np.random.default_rng(0).integers(0, 255, (20, 26, 3), np.uint8)
    options = {"samples": 2, "layer": "relu2,conv1"}
    together = case.explainer.explain_each(picture, "smooth_gradcam++", [0, 1], **options)
    copies = {"x", "onnxplain/target/0/code", "onnxplain/target/1/code"}
    assert fed == [{"x"}, copies, copies]
    for target, found in enumerate(together):
        for layer, values in zip(("relu2", "conv1"), found.values, strict=True):
            options["layer"] = layer
            alone = case.explainer.explain(picture, "smooth_gradcam++", target, **options).values
            alone = upsample_half_pixel(alone.astype(np.float64), values.shape)
            assert_allclose(values, alone, rtol=1e-4, atol=1e-6 * np.abs(values).max())


# --- several layers -----------------------------------------------------------------------------

LAYERS = ("relu1", "relu2", "conv2")


@pytest.mark.parametrize(
    "method", ["layercam", "eigencam", "ablationcam", "reciprocam", "scorecam"]
)
def test_maps_of_several_layers_are_those_of_each_on_the_largest_grid(method: str) -> None:
    case = CASES["net_r"]()
    found = case.attribute(method, layer=",".join(LAYERS))
    each = [case.attribute(method, layer=layer) for layer in LAYERS]
    expected = [upsample_half_pixel(one, each[0].shape) for one in each]
    assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(found).max())


@pytest.mark.parametrize(
    ("fuse", "combine"), [("mean", np.mean), ("max", np.max), ("product", np.prod)]
)
def test_the_heatmap_of_several_layers_is_fused_from_scaled_maps(fuse: str, combine: Any) -> None:
    case = CASES["net_r"]()
    picture = np.random.default_rng(0).integers(0, 255, (20, 26, 3), np.uint8)
    found = case.explainer.explain(picture, "layercam", 3, layer=",".join(LAYERS), fuse=fuse)
    scaled = [(one - one.min()) / np.ptp(one) for one in found.values]
    heat = upsample_half_pixel(combine(scaled, axis=0), (20, 26))
    assert_allclose(found.heatmap, (heat - heat.min()) / np.ptp(heat), atol=1e-5)
    assert found.layer == ",".join(LAYERS)
    assert found.sheet is None


def test_all_layers_come_as_a_sheet() -> None:
    case = CASES["net_r"]()
    picture = np.random.default_rng(0).integers(0, 255, (20, 26, 3), np.uint8)
    found = case.explainer.explain(picture, "layercam", 3, layer="all")
    assert found.layers == ("conv1", "relu1", "conv2", "relu2")
    assert found.looked_at == "4 layers"
    assert found.values.shape == (4, 10, 13)
    assert found.sheet is not None
    assert list(found.diagnostics["layers"]) == ["conv1", "relu1", "conv2", "relu2"]


def test_a_sheet_of_layers_says_the_end_of_each_name() -> None:
    maps = np.zeros((4, 4, 4), np.float32)
    short, long = (contact_sheet(maps, [name, *"bcd"]) for name in ("a", "x" * 99 + "a"))
    other = contact_sheet(maps, ["x" * 99 + "e", *"bcd"])
    indices = contact_sheet(maps)
    assert short.shape == long.shape == indices.shape
    assert not np.array_equal(short, indices)
    assert not np.array_equal(short, long)
    assert not np.array_equal(long, other)
    half = short.shape[1] // 2
    assert np.array_equal(short[:, half:], long[:, half:]), "a name runs into the next cell"


def test_a_constant_map_counts_as_nothing_when_it_is_fused() -> None:
    from onnxplain.methods.gradcam import LayerCAM

    ramp = np.arange(4, dtype=np.float32).reshape(2, 2)
    heat = LayerCAM(fuse="mean").heat(np.stack([ramp, np.full((2, 2), 7, np.float32)]), (2, 3))
    assert_allclose(heat, ramp / 6)


# --- what is refused ----------------------------------------------------------------------------


def test_what_a_layer_does_not_have_is_named() -> None:
    case = CASES["net_t"]()
    for chosen in ({"only_channels": 2}, {"only_neurons": "0x2"}):
        with pytest.raises(LayerError, match="2 channels of 2 x 2 neurons"):
            case.attribute("smooth_gradcam++", layer="relu", **chosen)
    with pytest.raises(LayerError, match="no layer 'rleu'"):
        case.attribute("gradcam", layer="conv,rleu")
    with pytest.raises(OptionError, match="gradcam takes true or false as relu"):
        case.attribute("gradcam", relu="no")
    with pytest.raises(OptionError, match="gradcam takes one of mean, max, product as fuse"):
        case.attribute("gradcam", fuse="sum")


# A layer normalization after the layer b.
NORMALIZED = (
    "b = Conv(x, K)  t = Transpose<perm=[0,2,3,1]>(b)"
    "n = LayerNormalization<epsilon=1e-12>(t, ONES)"
    "q = ReduceMean<axes=[1,2], keepdims=0>(n)  y = MatMul(q, W)"
)
AGAINST = "a = Conv(x, K)  b = Relu(a)  q = GlobalAveragePool(b)  f = Flatten(q)  y = MatMul(f, W)"
UNREAD = AGAINST.replace("f, W", "g, W").replace("y =", "g = Mul(f, NONE)  y =")
NOTHING = {
    "hirescam": (
        NORMALIZED,
        0,
        "in every cell.*cancel.*layer norm.*use layercam or gradcam",
    ),
    "layercam": (AGAINST, 1, "nothing in this layer raises the target"),
    "gradcam": (AGAINST, 1, "nothing in this layer raises the target.*gradcam without relu"),
    "gradcam++": (UNREAD, 0, "the gradient of the target at this layer is 0 in every cell"),
}


@pytest.mark.parametrize("method", NOTHING)
def test_a_map_of_zeros_says_why_and_what_works_there(method: str) -> None:
    body, target, reason = NOTHING[method]
    proto = tiny(
        body,
        "float[N,3,6,6] x",
        "float[N,2] y",
        K=noise(4, 3, 3, 3),
        ONES=np.ones(4, np.float32),
        NONE=np.zeros(4, np.float32),
        W=np.abs(noise(4, 2, seed=1)) * np.array([1, -1], np.float32),
    )
    explainer = Explainer(proto, preprocess={"layout": "NCHW"}, provider="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
    with pytest.raises(
        MapError, match=f"of {re.escape(method)} for .* is the same everywhere.*: {reason}"
    ):
        explainer.explain(picture, method, target, layer="b")
    found = explainer.attribute(noise(1, 3, 6, 6), method, target, layer="b")
    assert not found.values.any()
    (sentence,) = found.diagnostics["samples"][0]["warnings"]
    assert sentence[0].isupper()
    if method == "hirescam":
        for other in ("layercam", "gradcam"):
            assert explainer.explain(picture, other, target, layer="b").values.any()
    if method == "gradcam":
        assert explainer.explain(picture, method, target, layer="b", relu=False).values.any()
