"""`explain` and `explain_each`: what an explanation holds."""

import numpy as np
import pytest
from explainer.formulas import (
    AS_IT_IS,
    INPUT,
    NET_R_SHAPES,
    OF_DETECTORS,
    OF_TRANSFORMERS,
    OPTIONS,
    linear,
    model,
    noise,
    noise_picture,
)
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper
from scipy.special import expit, softmax
from tiny import run

from onnxplain import Explainer
from onnxplain.errors import TargetError
from onnxplain.methods.registry import METHODS
from onnxplain.targets import Element, Similarity
from tools.cases import nets

PICTURE = noise_picture()

every_method = pytest.mark.parametrize("method", NET_R_SHAPES)


def test_every_method_is_among_these() -> None:
    assert {*NET_R_SHAPES, *OF_TRANSFORMERS, *OF_DETECTORS} == set(METHODS)


@every_method
def test_values_are_raw_and_the_heatmap_lies_on_the_picture(net_r: Explainer, method: str) -> None:
    options = OPTIONS.get(method, {})
    found = net_r.explain(PICTURE, method, 2, **options)
    assert found.values.shape == NET_R_SHAPES[method]
    assert found.values.dtype == found.heatmap.dtype == np.float32
    x, _ = net_r.preprocess.apply(PICTURE.astype(np.float32))
    raw = net_r.attribute(x, method, 2, **options)
    assert_array_equal(found.values, raw.values[0])
    assert found.score == raw.scores[0]
    assert found.heatmap.shape == (33, 47)
    assert found.heatmap.min() == 0
    # Of a map without a positive value, heat 1 is the value 0.
    assert found.heatmap.max() == 1 or found.heatmap_range[1] == 0
    assert_array_equal(found.picture, PICTURE)
    assert found.target.index == 2
    assert found.target.label == "c"
    of_input = found.values.shape in (INPUT, INPUT[1:]) and method != "guided_gradcam"
    assert found.layer == raw.layer == (None if of_input else "relu2")


def test_heatmap_range_says_which_values_0_and_1_stand_for(net_r: Explainer) -> None:
    # Stretched to the model's size, the picture is as large as the map: nothing is resized.
    same_size = PICTURE[:20, :26]
    found = net_r.explain(same_size, "occlusion", 0, window=5, stride=5)
    low, high = found.heatmap_range
    # A window covers all channels, so each holds the same map, which is not counted three times.
    lost = found.values[0]
    assert_array_equal(found.values, np.broadcast_to(lost, found.values.shape))
    assert_allclose((low, high), (lost.min(), lost.max()), rtol=1e-5)
    assert low < 0 < high
    assert_allclose(low + found.heatmap * (high - low), lost, atol=1e-5)


@pytest.mark.parametrize("method", ["eigencam", "scorecam", "gradient", "eigengradcam"])
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_score_is_what_the_model_answers(net_r: Explainer, method: str, score: str) -> None:
    same_size = PICTURE[:20, :26]  # nothing is resized
    x = ((same_size / 255 - 0.5) / 0.2).transpose(2, 0, 1)[None].astype(np.float32)
    (logits,) = run(nets.net_r(), {"x": x})
    answers = {"logit": logits, "probability": softmax(logits.astype(np.float64), axis=1)}[score][0]
    assert len(set(answers)) == 5
    top = int(answers.argmax())
    for target, index in (("top1", top), (0, 0), (3, 3)):
        found = net_r.explain(same_size, method, target, score=score)
        assert (found.target.index, found.score_kind) == (index, score)
        assert found.score == pytest.approx(answers[index], rel=1e-4)


@pytest.mark.parametrize("shape", ["N,3", "N,3,1,1", "N,1,1,3", "N,1,3"])
def test_probability_is_the_softmax_over_the_classes_wherever_they_lie(shape: str) -> None:
    text = f"g (float[N,3] x) => (float[{shape}] y) {{ y = Reshape(x, s) }}"
    size = np.array([int(d) if d != "N" else -1 for d in shape.split(",")])
    made = model(text)
    made.graph.initializer.append(numpy_helper.from_array(size, "s"))
    x = np.array([[1, 2, 3]], np.float32)
    found = Explainer(made).attribute(x, "occlusion", "top1", score="probability", fill="zeros")
    assert_allclose(found.scores, np.exp(3) / np.exp([1, 2, 3]).sum(), rtol=1e-6)


DENSE = {
    "NCHW": ("y = Conv(x, w)", (1, 0, 0)),
    "NHWC": ("c = Conv(x, w) y = Transpose<perm=[0,2,3,1]>(c)", (0, 0, 1)),
}


@pytest.mark.parametrize("layout", DENSE)
def test_probability_of_a_cell_is_the_softmax_over_its_classes(layout: str) -> None:
    nodes, cell = DENSE[layout]
    made = model(f"g (float[N,3,2,4] x) => (float[N,a,b,c] y) {{ {nodes} }}")
    made.graph.initializer.append(
        numpy_helper.from_array(np.eye(3, dtype="f")[..., None, None], "w")
    )
    x = np.random.default_rng(0).normal(size=(1, 3, 2, 4)).astype(np.float32)
    found = Explainer(made, labels=["a", "b", "c"]).attribute(
        x, "occlusion", Element(cell), score="probability", fill="zeros", window=1
    )
    chances = np.exp(x[0, :, 0, 0])
    assert_allclose(found.scores, chances[1] / chances.sum(), rtol=1e-5)


def detector() -> Explainer:
    made = model("g (float[N,3,2,4] x) => (float[N,3,8] y) { y = Reshape(x, s) }")
    made.graph.initializer.append(numpy_helper.from_array(np.array([-1, 3, 8]), "s"))
    return Explainer(made)


def test_boxes_and_scores_of_a_detector_are_no_probabilities() -> None:
    x = np.full((1, 3, 2, 4), 7, np.float32)
    with pytest.raises(TargetError, match=r"shape \(3, 8\) has no axis .* --score logit"):
        detector().attribute(x, "occlusion", Element((1, 1)), score="probability", fill="zeros")


def test_an_embedding_of_any_shape_needs_no_probabilities() -> None:
    x = np.random.default_rng(0).normal(size=(1, 3, 2, 4)).astype(np.float32)
    like_itself = Similarity(x.ravel())
    found = detector().attribute(x, "rise", like_itself, baseline="zeros", samples=4)
    assert_allclose(found.scores, 1, rtol=1e-6)


def test_a_single_output_may_be_anything_and_stays_as_it_is() -> None:
    explainer = Explainer(linear("4", [[1, 0, 0, 0]]))
    found = explainer.attribute(np.ones((1, 4)), "occlusion", score="probability", fill="zeros")
    assert_allclose(found.scores, 2, rtol=1e-6)


@pytest.mark.parametrize("end", ["Softmax<axis=1>(z)", "Sigmoid(z)"])
def test_probabilities_behind_something_that_is_not_known_are_not_squashed_again(end: str) -> None:
    text = f"g (float[N,4] x) => (float[N,3] y) {{ z = MatMul(x, w) p = {end} y = Abs(p) }}"
    explainer = Explainer(model(text, w=noise(4, 3)))
    found = explainer.attribute(
        noise(1, 4, seed=1), "occlusion", 2, score="probability", fill="zeros"
    )
    z = noise(1, 4, seed=1).astype(np.float64) @ noise(4, 3)
    expected = softmax(z, 1) if end.startswith("Softmax") else expit(z)
    assert_allclose(found.scores, expected[:, 2], rtol=1e-5)
    (warning,) = found.diagnostics["samples"][0]["warnings"]
    assert "used as probabilities without a change" in warning


@pytest.mark.parametrize(
    ("rows", "probabilities"),
    [
        ([[0.2, 0.9, 0.4], [0.2, 1.1, 0.4], [-0.1, 0.9, 0.4]], [True, False, False]),
        ([[0.2, 0.8], [0.2, 0.9]], [True, False]),  # two of them add up to 1
        ([[0.4], [7]], [True, True]),  # a single number may be of any kind
    ],
)
def test_each_sample_of_a_batch_tells_whether_it_holds_probabilities(
    rows: list[list[float]], probabilities: list[bool]
) -> None:
    x = np.array(rows, np.float32)
    classes = x.shape[1]
    text = f"g (float[N,{classes}] x) => (float[N,{classes}] y) {{ y = MatMul(x, w) }}"
    explainer = Explainer(model(text, w=np.eye(classes, dtype=np.float32)), batch_size=len(x))
    found = explainer.attribute(x, "gradient", 0, score="probability")
    made = softmax(x.astype(np.float64), axis=1)
    first = np.eye(classes)[0]
    slopes = made[:, :1] * (first - made)
    kept = np.array(probabilities)
    assert_allclose(found.scores, np.where(kept, x[:, 0], made[:, 0]), rtol=1e-6)
    assert_allclose(found.values, np.where(kept[:, None], first, slopes), rtol=1e-5)


def test_a_score_is_called_what_it_is(net_r: Explainer) -> None:
    angle = net_r.explain(PICTURE, "occlusion", Similarity(np.ones(5)), window=8)
    assert angle.score_kind == "cosine similarity"
    text = """g (float[N,3,8,8] x) => (float[N,1] y)
        { s = ReduceMean<axes=[2,3], keepdims=0>(x) y = MatMul(s, w) }"""
    weights = np.full((3, 1), 40, np.float32)
    explainer = Explainer(model(text, w=weights), preprocess=AS_IT_IS | {"layout": "NCHW"})
    found = explainer.explain(PICTURE, "rise", samples=8)
    assert found.score_kind == "output"
    assert found.score > 1


AUTO = {
    "a layer and a gradient": ("g (float[N,3,8,8] x) => (float[N,2] y) { c = Conv(x, k) r = Relu(c)"
                               " p = GlobalAveragePool(r) y = Flatten(p) }", "hirescam"),
    "no gradient": ("g (float[N,3,8,8] x) => (float[N,2] y) { c = Conv(x, k) r = Round(c)"
                    " p = GlobalAveragePool(r) y = Flatten(p) }", "occlusion"),
    "no layer": ("g (float[N,3,8,8] x) => (float[N,2] y) { f = Flatten(x) y = MatMul(f, w) }",
                 "occlusion"),
}  # fmt: skip


@pytest.mark.parametrize("name", AUTO)
def test_auto_takes_a_method_that_the_model_allows(name: str) -> None:
    text, expected = AUTO[name]
    weights = {"k": noise(2, 3, 3, 3), "w": noise(192, 2)}
    used = {key: value for key, value in weights.items() if f", {key})" in text}
    explainer = Explainer(model(text, **used), preprocess=AS_IT_IS)
    assert explainer.default_method()[0] == expected
    found = explainer.explain(noise_picture(8, 8), target=1)
    assert found.method == expected
    assert explainer.attribute(noise(1, 3, 8, 8), target=1).method == expected
