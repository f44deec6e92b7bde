"""What the numbers of an answer are: pictures, one number, several labels, several outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explainer.formulas import AS_IT_IS, noise_picture
from numpy.testing import assert_allclose, assert_array_equal
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import ModelError, NotInPictureError, TargetError
from onnxplain.targets import Area, Output

PICTURE = noise_picture(6, 8)
X = np.moveaxis(PICTURE, -1, 0)[None].astype(np.float64)
MIX = noise(3, 3).astype(np.float64)
POINT = {"k": MIX[..., None, None].astype(np.float32)}
INPUT = "float[N,3,6,8] x"


def dense(nodes: str, output: str = "float[N,3,6,8] y", **options: Any) -> Explainer:
    proto = tiny(nodes, INPUT, output, **POINT)
    return Explainer(proto, preprocess=AS_IT_IS, **options)


DENOISER = "r = Conv(x, k) y = Sub(x, r)"
"""As in Zhang et al., "Beyond a Gaussian Denoiser", 2017: the model computes the noise."""

SLOPES = np.eye(3) - MIX
DEPTH = "c = Conv(x, k) d = ReduceMean<axes=[1], keepdims=0>(c) y = Relu(d)"


@pytest.mark.parametrize(
    ("target", "cells", "channels", "name"),
    [
        ("top1", np.s_[:, :], [0, 1, 2], "output@all"),
        ("@all", np.s_[:, :], [0, 1, 2], "output@all"),
        ("output", np.s_[:, :], [0, 1, 2], "output@all"),
        ("@7,2", np.s_[2, 7], [0, 1, 2], "output@7-2"),
        ("@box:1,2,4,3", np.s_[2:5, 1:5], [0, 1, 2], "output@box_1-2-4-3"),
        ("@box:1,2,4,3@box:0,0,3,9", np.s_[2:5, 1:3], [0, 1, 2], "output@box_1,2,4,3@box_0,0,3,9"),
        ("1@7,2", np.s_[2, 7], [1], "channel_1@7-2"),
        ("2", np.s_[:, :], [2], "channel_2@all"),
    ],
)
def test_the_mean_of_a_restored_picture(
    target: str, cells: Any, channels: list[int], name: str
) -> None:
    found = dense(DENOISER).explain(PICTURE, "input_x_gradient", target)
    here = np.zeros((6, 8))
    here[cells] = 1 / np.ones((6, 8))[cells].size
    expected = SLOPES[channels].mean(axis=0)[:, None, None] * here * X[0]
    assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)
    assert found.score == pytest.approx(expected.sum(), rel=1e-4)
    assert (found.score_kind, found.target.index) == ("output", None)
    assert found.target.name.startswith(name.replace(",", "_"))


@pytest.mark.parametrize(
    ("target", "weights"),
    [
        ("not:output", [-1 / 3] * 3),
        ("not:@all", [-1 / 3] * 3),
        ("not:top1", [-1 / 3] * 3),
        ("not:0@all", [-1, 0, 0]),
        ("0 - output@all", [2 / 3, -1 / 3, -1 / 3]),
    ],
)
def test_opposites_and_differences_in_a_picture(target: str, weights: list[float]) -> None:
    found = dense(DENOISER).explain(PICTURE, "input_x_gradient", target)
    slopes = np.array(weights) @ SLOPES / (6 * 8)
    assert_allclose(found.values, slopes[:, None, None] * X[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["c = Conv(x, k) y = Transpose<perm=[0,2,3,1]>(c)", DEPTH])
def test_a_picture_in_other_layouts(form: str) -> None:
    last = "Transpose" in form
    output = f"float[N,6,8{',3' if last else ''}] {'image' if last else 'y'}"
    form = form.replace("y =", "image =") if last else form
    found = dense(form, output).explain(PICTURE, "gradient", "@box:1,2,4,3")
    here = np.zeros((6, 8))
    here[2:5, 1:5] = 1 / 12
    slope = here if last else here * (np.einsum("kc,nchw->nkhw", MIX, X)[0].mean(axis=0) > 0)
    assert_allclose(found.values, MIX.mean(axis=0)[:, None, None] * slope, rtol=1e-4, atol=1e-8)
    assert found.target.title == "output @ box:1,2,4,3"


KINDS = {
    "noise is removed": (DENOISER, "picture"),
    "a function that cuts off": ("c = Conv(x, k) y = Relu(c)", "picture"),
    "scaled after Tanh": ("c = Conv(x, k) t = Tanh(c) y = Mul(t, t)", "picture or class map"),
    "larger than the input": (
        "c = Conv(x, k) t = Concat<axis=2>(c, c) y = Concat<axis=3>(t, t)",
        "picture",
    ),
    "softmax": ("c = Conv(x, k) y = Softmax<axis=1>(c)", "class map"),
    "smaller, three channels": (
        "c = Conv(x, k) y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(c)",
        "class map",
    ),
    "two channels": ("c = Conv(x, k) y = Concat<axis=1>(c, c)", "class map"),
    "nothing says": ("y = Conv(x, k)", "picture or class map"),
    "three sigmoids": ("c = Conv(x, k) y = Sigmoid(c)", "picture or class map"),
    "one channel": ("c = Conv(x, k) y = ReduceMean<axes=[1], keepdims=1>(c)", "picture"),
    "one sigmoid": (
        "c = Conv(x, k) m = ReduceMean<axes=[1], keepdims=1>(c) y = Sigmoid(m)",
        "class map",
    ),
    "no channels": (DEPTH, "picture"),
}


def test_one_class_is_not_called_classes() -> None:
    nodes, _ = KINDS["one sigmoid"]
    found = dense(nodes, "float[N,A,B,C] y").answer()
    assert found.words == "a score for one class in 6 x 8 cells (it ends in a sigmoid)"
    end = "m = ReduceMean<axes=[1]>(z) y = Sigmoid(m)"
    assert flat(end, labels=["ripe"]).answer().words == "a score for one class"


@pytest.mark.parametrize("case", KINDS)
def test_what_a_dense_answer_is(case: str) -> None:
    nodes, kind = KINDS[case]
    found = dense(nodes, "float[N,A,B,C] y" if case != "no channels" else "float[N,A,B] y").answer()
    assert found.kind == kind, found.words


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("predicted_depth", "picture"),
        ("outputImage", "picture"),
        ("anomaly_map", "picture"),
        ("logits", "class map"),
        ("seg_map", "class map"),
        ("anomaly_mask", "picture or class map"),
        ("crisp", "picture or class map"),  # "sr" inside a word says nothing
    ],
)
def test_a_name_tells_what_an_answer_is(name: str, kind: str) -> None:
    assert dense(f"{name} = Conv(x, k)", f"float[N,3,6,8] {name}").answer().kind == kind


def test_labels_of_all_channels_mean_classes() -> None:
    labeled = dense(DENOISER, labels=["a", "b", "c"])
    assert labeled.answer().kind == "class map"
    assert labeled.explain(PICTURE, "input_x_gradient", "b@all").target.label == "b"
    assert dense(DENOISER, labels=["a", "b"]).answer().kind == "picture"


@pytest.mark.parametrize(
    ("nodes", "target", "sentence"),
    [
        (DENOISER, "0@predicted", r"Nothing is predicted.*adds it to the picture.*as in @all"),
        (DENOISER, "top2", r"'top2' cannot be explained here.*picture without classes"),
        (DENOISER, "cat", "'cat' cannot be explained here"),
        (DENOISER, "3@all", "There is no channel 3: the answer has channels 0 to 2"),
        ("y = Conv(x, k)", "top1", r"may be a picture or a map of scores.*@all.*0@predicted"),
        ("y = Conv(x, k)", "1", "may be a picture or a map of scores"),
        ("c = Conv(x, k) y = Softmax<axis=1>(c)", "@all", r"names no class.*softmax.*as in 0@all"),
    ],
)
def test_a_target_that_does_not_fit_the_answer(nodes: str, target: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        dense(nodes).explain(PICTURE, "gradient", target)


def test_the_form_of_a_target_says_what_an_unknown_answer_is() -> None:
    unknown = dense("y = Conv(x, k)")
    scores = np.einsum("kc,nchw->nkhw", MIX, X)[0]
    for method in (
        "input_x_gradient",
        "occlusion",
    ):  # without probabilities of classes that may be none
        found = unknown.explain(PICTURE, method, "@all")
        assert (found.score, found.score_kind) == (pytest.approx(scores.mean(), rel=1e-4), "output")
    first = scores[0][scores.argmax(axis=0) == 0].mean()
    found = unknown.explain(PICTURE, "gradient", "0@predicted")
    assert found.score == pytest.approx(first, rel=1e-4)


def test_the_output_of_a_picture_is_read_after_its_sigmoid() -> None:
    nodes = "h = Constant<value_float=0.01>() s = Mul(x, h) c = Conv(s, k) depth = Sigmoid(c)"
    found = dense(nodes, "float[N,3,6,8] depth").explain(PICTURE, "gradient")
    p = 1 / (1 + np.exp(-np.einsum("kc,nchw->nkhw", MIX / 100, X)))
    slope = np.einsum("khw,kc->chw", (p * (1 - p))[0], MIX / 100) / p.size
    assert found.score == pytest.approx(p.mean(), rel=1e-5)
    assert_allclose(found.values, slope, rtol=1e-3, atol=1e-9)


WEIGHTS = noise(4, 3, seed=3)
POOL = "p = GlobalAveragePool(x) f = Flatten(p) z = MatMul(f, w) "


def flat(end: str, outputs: str = "float[N,C] y", **options: Any) -> Explainer:
    proto = tiny(POOL + end, INPUT, outputs, w=(WEIGHTS.T / 40).astype(np.float32))
    return Explainer(proto, preprocess=AS_IT_IS, **options)


def logits(picture: Any) -> Any:
    means = np.asarray(picture, np.float64).mean(axis=(0, 1))
    return (WEIGHTS / 40).astype(np.float32).astype(np.float64) @ means


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


PICTURES = [
    np.full((6, 8, 3), color, np.uint8) + np.eye(8, dtype=np.uint8)[:6, :, None]
    for color in ((250, 3, 9), (9, 200, 30), (20, 30, 240), (99, 90, 80), (1, 1, 1))
]


@pytest.mark.parametrize("method", ["input_x_gradient", "occlusion"])
def test_every_class_above_a_threshold_may_differ_between_pictures(method: str) -> None:
    found = list(flat("y = Sigmoid(z)").try_many(PICTURES, method, "p>0.8"))
    expected = [[int(i) for i in np.argsort(-logits(p)) if sigmoid(logits(p))[i] > 0.8]
                for p in PICTURES]  # fmt: skip
    assert len({tuple(classes) for classes in expected}) > 2
    for one, classes in zip(found, expected, strict=True):
        if not classes:
            assert isinstance(one, NotInPictureError)
            assert str(one).startswith("No class has p>0.8: the largest probability is 0.")
            continue
        assert isinstance(one, list)
        assert [e.target.index for e in one if not isinstance(e, Exception)] == classes


@pytest.mark.parametrize(
    ("end", "function"),
    [
        ("y = Softmax<axis=1>(z)", lambda z: np.exp(z) / np.exp(z).sum()),
        ("y = LogSoftmax<axis=1>(z)", lambda z: np.exp(z) / np.exp(z).sum()),
        ("y = Identity(z)", lambda z: np.exp(z) / np.exp(z).sum()),
        ("y = Sigmoid(z)", sigmoid),
    ],
)
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_thresholds_are_of_probabilities_whatever_is_explained(
    end: str, function: Any, score: str
) -> None:
    p = function(logits(PICTURE))
    second = np.sort(p)[-2]
    for text, expected in ((f"p>{second * 0.999:.9e}", 2), (f"p > {second * 1.001:.9e}", 1)):
        found = flat(end).explain_each(PICTURE, "occlusion", text, score=score)
        assert [e.target.index for e in found] == list(np.argsort(-p)[:expected])
        warned = "probabilities are their softmax" in str(found[0].diagnostics.get("warnings"))
        assert warned == ("Identity" in end)


def test_all_classes_in_order_and_no_more_than_can_be_kept() -> None:
    found = flat("y = Sigmoid(z)").explain_each(PICTURE, "input_x_gradient", "all")
    assert [e.target.index for e in found] == [0, 1, 2, 3]
    many = tiny(POOL + "y = MatMul(z, v)", INPUT, "float[N,C] y", w=WEIGHTS.T, v=noise(4, 101))
    with pytest.raises(TargetError, match=r"'all' means 101 classes here, and at most 100"):
        Explainer(many, preprocess=AS_IT_IS).explain_each(PICTURE, "gradient", "all")


@pytest.mark.parametrize(
    ("end", "target", "sentence"),
    [
        ("y = Sigmoid(z)", "p>0,5", "a comma in its number"),
        ("y = Sigmoid(z)", "p>50", "above 1"),
        ("y = ReduceMean<axes=[1]>(z)", "top2", "the answer is one number"),
        ("y = ReduceMean<axes=[1]>(z)", "p>0.5", "the answer is one number"),
        ("y = ReduceMean<axes=[1], keepdims=0>(z)", "1", "the answer is one number"),
    ],
)
def test_what_is_no_target_of_numbers(end: str, target: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        flat(end, "float[N] y" if "keepdims=0" in end else "float[N,C] y").explain_each(
            PICTURE, "gradient", target
        )


@pytest.mark.parametrize(
    ("end", "labels", "function", "numbers"),
    [
        ("y = Softmax<axis=1>(z)", None, lambda z: np.exp(z) / np.exp(z).sum(), [0, 1, 2, 3]),
        ("y = Softmax<axis=1>(z)", ["16", "17", "20", "30"],
         lambda z: np.exp(z) / np.exp(z).sum(), [16, 17, 20, 30]),
        ("y = Sigmoid(z)", None, sigmoid, [1, 1, 1, 1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_the_expected_value_and_its_gradient(
    end: str, labels: Any, function: Any, numbers: list[int], score: str
) -> None:
    made = flat(end, labels=labels)
    dark = PICTURE // 10  # so that no probability is almost 1
    found = made.explain(dark, "input_x_gradient", "expected", score=score)

    def value(means: Any) -> float:
        return float(function((WEIGHTS / 40).astype(np.float32).astype(float) @ means) @ numbers)

    means = np.asarray(dark, np.float64).mean(axis=(0, 1))
    step = 1e-4
    slope = np.array([(value(means + step * e) - value(means - step * e)) / 2 / step
                      for e in np.eye(3)])  # fmt: skip
    assert found.score == pytest.approx(value(means), rel=1e-5)
    x = np.moveaxis(dark, -1, 0)
    assert_allclose(found.values, slope[:, None, None] * x / 48, rtol=1e-4, atol=1e-7)
    assert (found.score_kind, found.target.name) == ("expected value", "expected")


@pytest.mark.parametrize("shape", ["float[N] y", "float[N,1] y"])
@pytest.mark.parametrize("target", ["top1", 0, "output", Output()])
def test_one_number_is_no_class(shape: str, target: Any) -> None:
    keep = int("1" in shape)
    end = f"y = ReduceMean<axes=[1], keepdims={keep}>(z)"
    found = flat(end, shape).explain(PICTURE, "input_x_gradient", target)
    slopes = (WEIGHTS / 40).mean(axis=0)
    assert_allclose(found.values, slopes[:, None, None] * X[0] / 48, rtol=1e-4, atol=1e-7)
    assert (found.target.name, found.target.index, found.score_kind) == ("output", None, "output")
    assert found.scored == f"output {logits(PICTURE).mean():.4g}"
    lowered = flat(end, shape).explain(PICTURE, "input_x_gradient", "not:output")
    assert_allclose(lowered.values, -found.values, rtol=1e-5)


def test_one_number_has_the_only_name_there_is() -> None:
    """Which of two names the number belongs to is not known."""
    end = "m = ReduceMean<axes=[1]>(z) y = Sigmoid(m)"
    assert flat(end, labels=["ripe"]).explain(PICTURE, "input_x_gradient").target.label == "ripe"
    found = flat(end, labels=["cat", "dog"]).explain(PICTURE, "input_x_gradient")
    assert (found.target.title, found.score_kind) == ("output", "logit")


HEADS = POOL + "age = ReduceMean<axes=[1]>(z) gender = Softmax<axis=1>(z)"
HEAD_OUTPUTS = "float[N,1] age, float[N,4] gender"


def test_each_output_is_explained_by_its_name(tmp_path: Path) -> None:
    first = flat(HEADS.removeprefix(POOL), HEAD_OUTPUTS)
    assert first.explain(PICTURE, "input_x_gradient").target.output is None
    files: set[str] = set()
    for name, title in (("age", "age: output"), ("gender", f"gender: {logits(PICTURE).argmax()}")):
        found = first.with_output(name).explain(PICTURE, "input_x_gradient")
        alone = flat(HEADS.removeprefix(POOL), HEAD_OUTPUTS, output=name)
        assert_array_equal(found.values, alone.explain(PICTURE, "input_x_gradient").values)
        assert (found.target.title, found.target.output) == (title, name)
        saved = found.save(tmp_path, "npy,json")
        files |= {path.name for path in saved}
        assert json.loads(saved[-1].read_text())["target"]["output"] == name
    assert len(files) == 4
    inner = first.with_output("z").attribute(X.astype(np.float32), "input_x_gradient", 2)
    assert_allclose(inner.scores, [logits(PICTURE)[2]], rtol=1e-5)
    assert inner.targets[0].output == "z"
    with pytest.raises(ModelError, match="no output or inner tensor 'ages'"):
        first.with_output("ages")


@pytest.mark.parametrize(
    ("end", "output"),
    [
        ("y = Transpose(z)", "float[C,N] y"),
        ("y = Reshape(z, s)", "float[4,1] y"),
        ("t = ReduceMean<axes=[0,1], keepdims=0>(x) y = Identity(t)", "float[6,8] y"),
    ],
)
def test_an_answer_without_the_samples_on_its_first_axis_is_refused(end: str, output: str) -> None:
    made = tiny(POOL + end, INPUT, output, w=WEIGHTS.T, s=np.array([4, 1]))
    for method in ("gradient", "occlusion"):
        with pytest.raises(ModelError, match="first axis does not hold the samples"):
            Explainer(made, preprocess=AS_IT_IS).explain(PICTURE, method)


def test_an_area_is_a_target_of_its_own() -> None:
    cells = np.zeros((6, 8), bool)
    cells[1, 2:4] = True
    found = dense(DENOISER).explain(PICTURE, "gradient", Area(cells, where="eyes"))
    same = dense(DENOISER).explain(PICTURE, "gradient", "@box:2,1,2,1")
    assert_array_equal(found.values, same.values)
    with pytest.raises(TargetError, match="make it of the shape"):
        dense(DENOISER).explain(PICTURE, "gradient", Area(cells[:3]))
    with pytest.raises(TargetError, match="holds no cell"):
        Area(np.zeros((6, 8)))
