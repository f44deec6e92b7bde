"""Models whose output is a map of scores: what is explained, and its name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explainer.formulas import (
    AS_IT_IS,
    OF_DETECTORS,
    OF_TRANSFORMERS,
    model,
    noise,
    noise_picture,
)
from numpy.testing import assert_allclose, assert_array_equal
from tiny import tiny

from onnxplain import Explainer, sanity_check
from onnxplain.errors import TargetError
from onnxplain.methods.registry import METHODS
from onnxplain.runtime.session import Session
from onnxplain.targets import Region

PICTURE = noise_picture(6, 8)
X = np.moveaxis(PICTURE, -1, 0)[None].astype(np.float32)
MIX = noise(4, 3)
PER_PIXEL = np.einsum("kc,nchw->nkhw", MIX, X)
"""Scores of four classes, each a sum of a pixel's colors."""

FORMS = {
    "channels first": "(float[N,4,6,8] y) { y = Conv(x, k) }",
    "channels last": "(float[N,6,8,4] y) { c = Conv(x, k) y = Transpose<perm=[0,2,3,1]>(c) }",
    # Only the labels say which axis has the classes.
    "labels": """(float[N,4,6,8] y)
        { f = Flatten<axis=2>(x) g = MatMul(flat, f) y = Reshape(g, shape) }""",
}


def explainer(form: str = "channels first") -> Explainer:
    made = model(f"g (float[N,3,6,8] x) => {FORMS[form]}", k=MIX[..., None, None], flat=MIX)
    made.graph.initializer.extend([shape_of(-1, 4, 6, 8)])
    return Explainer(made, preprocess=AS_IT_IS, labels=["sky", "cat", "dog", "road"])


def shape_of(*sizes: int) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(sizes, np.int64), "shape")


@pytest.mark.parametrize("form", ["channels first", "channels last"])
@pytest.mark.parametrize(("target", "index"), [("dog", 2), (0, 0)])
def test_the_gradient_of_a_mean_over_a_region(form: str, target: Any, index: int) -> None:
    region = PER_PIXEL[0].argmax(axis=0) == index
    found = explainer(form).explain(PICTURE, "gradient", target)
    expected = MIX[index][:, None, None] * region / region.sum()
    assert_allclose(found.values, expected, rtol=1e-5, atol=1e-9)
    assert found.score == pytest.approx(PER_PIXEL[0, index][region].mean(), rel=1e-5)
    assert found.target.region is not None
    assert found.target.region.pixels == region.sum()
    assert found.target.region.grid == (6, 8)


@pytest.mark.parametrize(
    ("target", "weights", "name"),
    [
        ("dog - road", MIX[2] - MIX[3], "2_dog@predicted-3_road"),
        ("2-0.5*3", MIX[2] - 0.5 * MIX[3], "2_dog@predicted-0.5x3_road"),
        ("not:dog", -MIX[2], "not_2_dog@predicted"),
    ],
)
def test_a_class_of_a_region_rather_than_another(target: str, weights: Any, name: str) -> None:
    """The cells are those where the first class is predicted."""
    region = PER_PIXEL[0].argmax(axis=0) == 2
    found = explainer().explain(PICTURE, "gradient", target)
    expected = weights[:, None, None] * region / region.sum()
    assert_allclose(found.values, expected, rtol=1e-5, atol=1e-8)
    assert found.score == pytest.approx((expected * X[0]).sum(), rel=1e-4)
    assert found.target.name == name
    assert found.target.title == f"{found.target.label} @ predicted"


def test_a_region_is_not_compared_with_a_class_that_is_not_there() -> None:
    with pytest.raises(TargetError, match="There is no class 9"):
        explainer().explain(PICTURE, "gradient", "2-9")
    with pytest.raises(TargetError, match=r"There is no top5: only \d classes are predicted there"):
        explainer().explain(PICTURE, "gradient", "2-top5")


def test_a_pass_for_a_region_starts_from_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that finds the region also returns the activation."""
    text = """g (float[N,3,6,8] x) => (float[N,4,6,8] y) { a = Abs(x) y = Conv(a, k) }"""
    explained = Explainer(model(text, k=MIX[..., None, None]), preprocess=AS_IT_IS)
    explained.explain(PICTURE, "hirescam", 2, layer="a")
    fed: list[set[str]] = []
    run = Session.run

    def spied(self: Session, feeds: Any, *arguments: Any) -> Any:
        fed.append(set(feeds) & set(self.inputs))
        return run(self, feeds, *arguments)

    monkeypatch.setattr(Session, "run", spied)
    explained.explain(PICTURE, "hirescam", 2, layer="a")
    assert [feeds & {"a", "x"} for feeds in fed] == [{"x"}, {"a"}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["all", "box:2,1,3,4", "7,5"])
def test_a_place_is_the_same_in_every_layout(form: str, where: str) -> None:
    here = np.zeros((6, 8), bool)
    here[{"all": np.s_[:], "box:2,1,3,4": np.s_[1:5, 2:5], "7,5": np.s_[5, 7]}[where]] = True
    options: dict[str, Any] = {"window": 1, "fill": "zeros"}
    found = explainer(form).attribute(X, "occlusion", f"cat@{where}", **options)
    expected = PER_PIXEL[0, 1] * here / here.sum()
    assert_allclose(found.values[0, 0], expected, rtol=1e-3, atol=1e-3)
    assert found.targets[0].name == f"1_cat@{where.replace(':', '_').replace(',', '-')}"


def test_probabilities_of_a_region() -> None:
    shares = np.exp(PER_PIXEL / 100)
    made = model("g (float[N,3,6,8] x) => (float[N,4,6,8] y) { y = Conv(x, k) }",
                 k=MIX[..., None, None] / 100)  # fmt: skip
    explained = Explainer(made, preprocess=AS_IT_IS)
    p = (shares / shares.sum(axis=1, keepdims=True))[0]
    found = explained.attribute(X, "gradient", "3@all", score="probability")
    assert_allclose(found.scores, [p[3].mean()], rtol=1e-5)
    mix = MIX / 100
    slope = p[3] * (mix[3][:, None, None] - np.einsum("khw,kc->chw", p, mix)) / 48
    assert_allclose(found.values[0], slope, rtol=1e-4, atol=1e-8)


def test_a_map_of_one_class_has_sigmoids_for_probabilities() -> None:
    made = model("g (float[N,3,6,8] x) => (float[N,1,6,8] y) { y = Conv(x, k) }",
                 k=MIX[:1, :, None, None] / 100)  # fmt: skip
    found = Explainer(made, preprocess=AS_IT_IS, labels=["sky"]).attribute(
        X, "occlusion", score="probability", window=6
    )
    p = 1 / (1 + np.exp(-PER_PIXEL[0, 0] / 100))
    assert_allclose(found.scores, [p[p > 0.5].mean()], rtol=1e-5)


def bent() -> Explainer:
    """A segmenter with a stride, a rectifier and an output enlarged to the picture."""
    text = """g (float[N,3,16,24] x) => (float[N,4,16,24] y) {
        c = Conv<strides=[2,2], pads=[1,1,1,1]>(x, first, bias) a = Relu(c)
        d = Conv<strides=[2,2], pads=[1,1,1,1]>(a, second) b = Relu(d)
        s = Conv(b, classes) y = Resize<mode="linear">(s, none, scales) }"""
    made = model(text, first=noise(6, 3, 3, 3), bias=noise(6, seed=1), scales=[1, 1, 4, 4],
                 second=noise(8, 6, 3, 3, seed=2), classes=noise(4, 8, 1, 1, seed=3),
                 none=[])  # fmt: skip
    return Explainer(made, preprocess={"scale": 1 / 100, "mean": 1, "std": 1})


WIDE = noise_picture(32, 48)
TILES = np.arange(16)[:, None] // 8 * 3 + np.arange(24) // 8
SHORT: dict[str, dict[str, Any]] = {
    "rise": {"samples": 20}, "lime": {"samples": 60, "segments": TILES},
    "kernelshap": {"segments": TILES},
    "expected_gradients": {"baselines": noise(2, 3, 16, 24), "samples": 4},
    "activation_maximization": {"steps": 2}, "guided_ig": {"steps": 5},
}  # fmt: skip
NOT_FOR_IT = {*OF_TRANSFORMERS, *OF_DETECTORS, "cam", "regression_activation_map"}
"""Methods that need one linear layer after a pool, a transformer, or a detector."""


@pytest.mark.parametrize("method", [name for name in METHODS if name not in NOT_FOR_IT])
def test_every_method_explains_a_segmenter(method: str) -> None:
    pytest.importorskip("skimage")
    found = bent().explain(WIDE, method, "top1", **SHORT.get(method, {}))
    assert found.heatmap.shape == (32, 48)
    assert np.ptp(found.heatmap) == 1
    if found.layers:
        assert found.layers == ("b",)


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
def test_a_region_stays_where_it_is_as_the_picture_changes(method: str) -> None:
    """If it was predicted again at each point, values would not add up."""
    explained = bent()
    (region,) = explained.targets(WIDE, "top1")
    assert isinstance(region, Region)
    options = {"steps": 400} if method == "integrated_gradients" else {}
    found = explained.explain(WIDE, method, "top1", **options)
    black = explained.explain(np.zeros_like(WIDE), "gradient", region)
    assert found.score != black.score
    assert found.values.sum() == pytest.approx(found.score - black.score, rel=1e-2)
    assert found.target == black.target


def test_several_regions_have_files_of_their_own(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    masks = [tmp_path / "a" / "mask.png", tmp_path / "b" / "mask.png"]
    for column, mask in enumerate(masks):
        mask.parent.mkdir()
        pixels = np.zeros((6, 8), np.uint8)
        pixels[:, column] = 255
        cv2.imwrite(str(mask), pixels)
    places = ["all", "predicted", "1,1", "2,1", "box:1,1,2,3", *map(str, masks)]
    index = explainer().targets(PICTURE)[0].index
    targets = [f"{index}@{place}" for place in places]
    found = explainer().explain_each(PICTURE, "occlusion", targets, window=1, fill="zeros")
    files = [path for e in found for path in e.save(tmp_path / "out", "json")]
    assert len(set(files)) == len(places)
    facts = [json.loads(file.read_text())["target"] for file in files]
    assert [one["region"]["where"] for one in facts] == places
    assert [one["region"]["pixels"] for one in facts][2:] == [1, 1, 6, 6, 6]
    assert {one["index"] for one in facts} == {index}
    assert all(one["region"]["grid"] == [6, 8] for one in facts)
    name = found[0].target.name.removesuffix("all")
    assert files[4].name == f"picture.occlusion.{name}box_1-1-2-3.json"
    columns = [np.flatnonzero(e.values[0].any(axis=0)) for e in found[-2:]]
    assert [list(c) for c in columns] == [[0], [1]]


def test_a_class_that_is_found_nowhere_names_those_that_are() -> None:
    bright = np.zeros((6, 8, 3), np.uint8)
    bright[..., 0] = 255
    best = int(MIX[:, 0].argmax())
    other = (best + 1) % 4
    with pytest.raises(TargetError, match=rf"Class {other} .*predicted nowhere.* {other}@all"):
        explainer().explain(bright, "occlusion", other)
    assert [t.index for t in explainer().targets(bright, "top5")] == [best]


def test_without_labels_an_answer_may_not_tell_its_classes() -> None:
    made = model(f"g (float[N,3,6,8] x) => {FORMS['labels']}", flat=MIX)
    made.graph.initializer.extend([shape_of(-1, 4, 6, 8)])
    unlabeled = Explainer(made, preprocess=AS_IT_IS)
    for target in ("2", "top1", "2@all"):
        with pytest.raises(TargetError, match=r"4, 6, 8.*--labels.*--target 2,3,4"):
            unlabeled.explain(PICTURE, "occlusion", target)
    found = unlabeled.attribute(X, "occlusion", "2,3,4", window=1, fill="zeros")
    assert_allclose(found.scores, PER_PIXEL[:, 2, 3, 4], rtol=1e-5)


def test_labels_that_fit_two_axes_tell_nothing() -> None:
    """Four classes, and four columns."""
    made = model(f"g (float[N,3,12,4] x) => {FORMS['labels']}".replace("6,8", "12,4"), flat=MIX)
    made.graph.initializer.extend([shape_of(-1, 4, 12, 4)])
    square = Explainer(made, preprocess=AS_IT_IS, labels=["sky", "cat", "dog", "road"])
    x = np.ascontiguousarray(X.reshape(1, 3, 12, 4))
    for target in ("cat", "top1", "cat@all"):
        with pytest.raises(TargetError, match=r"\(4, 12, 4\)"):
            square.attribute(x, "occlusion", target, window=1)


def test_sanity_keeps_the_region_and_takes_one(capsys: Any) -> None:
    checked = sanity_check(bent(), WIDE, "gradient", "top1", stages=2)
    assert len({stage.explanation.target for stage in checked.stages if stage.explanation}) == 1
    assert checked.stages[0].explanation is not None
    assert checked.stages[0].explanation.target == checked.trained.target
    with pytest.raises(TargetError, match=r"'1@1,1,2@1,1' means 2 targets, and the check takes"):
        sanity_check(bent(), WIDE, "gradient", "1@1,1,2@1,1")


def detector() -> Explainer:
    """(N, boxes, numbers), and rows and columns before."""
    text = """g (float[N,3,6,8] x) => (float[N,12,7] y) {
        c = Conv<strides=[2,2], pads=[0,0,0,0]>(x, k) b = Relu(c)
        f = Reshape(b, shape) y = Transpose<perm=[0,2,1]>(f) }"""
    made = model(text, k=noise(7, 3, 2, 2))
    made.graph.initializer.extend([shape_of(-1, 7, 12)])
    return Explainer(made, preprocess=AS_IT_IS)


def test_a_detector_is_explained_by_an_element() -> None:
    found = detector().explain(PICTURE, "gradient", "5,3")
    expected = np.zeros((3, 6, 8))
    expected[:, 2:4, 2:4] = noise(7, 3, 2, 2)[3]
    assert found.score > 0
    assert_allclose(found.values, expected, rtol=1e-6)
    for target in ("top1", 3, "3@all"):
        with pytest.raises(TargetError, match=r"\(12, 7\)"):
            detector().explain(PICTURE, "gradient", target)


def test_an_answer_without_rows_is_no_map() -> None:
    """The crop begins below the picture."""
    made = tiny(
        "c = Relu(x) y = Slice(c, at, end, axis)",
        "float[N,3,6,8] x",
        "float[N,3,M,8] y",
        at=np.array([6]),
        end=np.array([9]),
        axis=np.array([2]),
    )
    explainer = Explainer(made, preprocess=AS_IT_IS)
    assert explainer.answer_shape() == (3, 0, 8)
    with pytest.raises(TargetError, match=r"\(3, 0, 8\)"):
        explainer.explain(PICTURE, "occlusion")


@pytest.mark.parametrize("method", ["eigencam", "feature_maps"])
def test_methods_that_know_no_class_ask_for_none(method: str, tmp_path: Path) -> None:
    explained = detector()
    found = explained.explain(PICTURE, method, layer="b")
    assert found.target.name == "no_class"
    (file,) = found.save(tmp_path, "json")
    assert json.loads(file.read_text())["score"]["value"] is None
    same = explained.explain(PICTURE, method, "5,3", layer="b")
    assert_array_equal(found.values, same.values)
    assert found.scored == ""


def test_activation_maximization_of_a_channel_asks_for_no_class() -> None:
    found = detector().explain(PICTURE, "activation_maximization", layer="b", channel=2, steps=2)
    assert found.target.name == "channel_2"


@pytest.mark.parametrize(
    "after", ["y = ArgMax<axis=1>(z)", "a = ArgMax<axis=1>(z) y = Cast<to=6>(a)"]
)
def test_a_model_that_ends_in_a_decision_is_explained_before_it(after: str) -> None:
    kind = "int32" if "Cast" in after else "int64"
    made = model(
        f"g (float[N,3,6,8] x) => ({kind}[N,1,6,8] y) {{ z = Conv(x, k) {after} }}",
        k=MIX[..., None, None],
    )
    explained = Explainer(made, preprocess=AS_IT_IS, labels=["sky", "cat", "dog", "road"])
    assert explained.score_tensor.probability == "z"
    found = explained.explain(PICTURE, "gradient", "dog")
    assert_allclose(found.values, explainer().explain(PICTURE, "gradient", "dog").values)
