"""Which target is explained, and what several targets share."""

from typing import Any

import numpy as np
import pytest
from explainer.formulas import (
    ADAPTIVE,
    AS_IT_IS,
    NET_R_SHAPES,
    OPTIONS,
    linear,
    model,
    noise,
    noise_picture,
)
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper
from tiny import run

from onnxplain import Explainer
from onnxplain.errors import MapError, ModelError, TargetError
from onnxplain.runtime.session import Session
from onnxplain.targets import Class, Contrast, Element, Mask, Similarity
from tools.cases import nets

PICTURE = noise_picture()


@pytest.mark.parametrize("target", [3, np.int64(3), "3", "d", "D"])
def test_ways_to_say_a_class(net_r: Explainer, target: Any) -> None:
    found = net_r.explain(PICTURE, "cam", target)
    assert (found.target.index, found.target.label) == (3, "d")
    (same,) = net_r.explain_each(PICTURE, "cam", target)
    assert_array_equal(found.values, same.values)


@pytest.mark.parametrize("method", [method for method in NET_R_SHAPES if method not in ADAPTIVE])
def test_targets_share_the_work_and_get_what_they_get_alone(net_r: Explainer, method: str) -> None:
    options = {"score": "logit"} | OPTIONS.get(method, {})
    # How the model takes batches is known now.
    net_r.attribute(noise(1, 3, 20, 26), "occlusion", window=(20, 26))
    before = net_r.session_runs
    alone = [net_r.explain(PICTURE, method, target, **options) for target in (4, 1)]
    one = (net_r.session_runs - before) // 2
    before = net_r.session_runs
    together = net_r.explain_each(PICTURE, method, [4, "b"], **options)
    assert net_r.session_runs - before == one
    for single, shared in zip(alone, together, strict=True):
        assert shared.target == single.target
        assert shared.score == single.score
        assert_allclose(shared.values, single.values, rtol=1e-5, atol=1e-6)
        assert_allclose(shared.heatmap, single.heatmap, atol=1e-5)
    if method not in ("eigencam", "kpcacam", "fem", "feature_maps"):
        difference = np.abs(together[0].values - together[1].values).max()
        assert difference > 0.01 * np.abs(together[0].values).max()


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("smoothgrad", {"samples": 4}),
        ("smooth_gradcam++", {"samples": 4, "layer": "conv2"}),
        ("gradcam", {"layer": "conv2", "relu": False}),
        ("integrated_gradients", {"steps": 4}),
        ("expected_gradients", {"samples": 4, "baselines": noise(2, 3, 20, 26)}),
    ],
)
def test_more_targets_than_share_a_pass_get_what_they_get_alone(
    method: str, options: dict[str, Any], score: str
) -> None:
    net_r = Explainer(nets.net_r(), preprocess={"size": (20, 26), "scale": 1 / 255})
    targets, options = [*range(5), *range(5), 2, 0], {"score": score, **options}
    alone = [net_r.explain(PICTURE, method, target, **options).values for target in range(5)]
    before = net_r.session_runs
    together = net_r.explain_each(PICTURE, method, targets, **options)
    for target, found in zip(targets, together, strict=True):
        assert_allclose(found.values, alone[target], rtol=1e-4, atol=1e-6)
    diagnostics = together[0].diagnostics
    assert diagnostics["forward_passes"] == net_r.session_runs - before
    # Eight of them, and four with one unused.
    points = {"gradient": 1, "gradcam": 1}.get(method, 4)
    assert diagnostics["backward_passes"] == (8 + 5) * points


def test_sessions_do_not_grow_with_the_numbers_of_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    initialize = Session.__init__

    def counted(self: Session, *arguments: Any) -> None:
        opened.append(self)
        initialize(self, *arguments)

    monkeypatch.setattr(Session, "__init__", counted)
    explainer = Explainer(linear("3,4,4", noise(10, 48)), preprocess={"size": (4, 4)})
    for count in (*range(1, 10), *range(1, 10)):
        explainer.explain_each(PICTURE, "gradient", f"top{count}")
    # The model's own, graphs with 1, 2, 3, 5 and 8 seeds, and one that finds the ninth rank.
    assert len(opened) == 1 + 5 + 1


def test_top_targets_come_in_order(net_r: Explainer) -> None:
    found = net_r.explain_each(PICTURE, "cam", "top5")
    assert [e.score for e in found] == sorted((e.score for e in found), reverse=True)
    assert {e.target.index for e in found} == set(range(5))
    listed = net_r.explain_each(PICTURE, "cam", ["top2", 0])
    assert [e.target.index for e in listed] == [found[0].target.index, found[1].target.index, 0]


@pytest.mark.parametrize("target", ["top2", "a,b"])
def test_explain_takes_one_target_and_says_so_before_the_work(
    net_r: Explainer, target: str
) -> None:
    before = net_r.session_runs
    with pytest.raises(TargetError, match=f"'{target}' means 2 targets.*explain_each"):
        net_r.explain(PICTURE, "occlusion", target)
    with pytest.raises(TargetError, match=f"'{target}' means 2 targets"):
        net_r.attribute(noise(1, 3, 20, 26), "occlusion", target)
    assert net_r.session_runs - before == 2


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (7, "no class 7: the model has 5 classes"),
        ("top6", "no top6"),
        ("z", "No class is called 'z'"),
        (None, "None is no target"),
        (Element((1, 2)), "no element"),
    ],
)
def test_targets_that_are_none(net_r: Explainer, target: Any, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        net_r.explain(PICTURE, "cam", target)
    with pytest.raises(TargetError, match=sentence):
        net_r.explain_each(PICTURE, "cam", target)
    with pytest.raises(TargetError, match=sentence):
        net_r.attribute(noise(1, 3, 20, 26), "cam", target)


def test_no_targets(net_r: Explainer) -> None:
    with pytest.raises(TargetError, match="no targets"):
        net_r.explain_each(PICTURE, "cam", [])


def test_an_ambiguous_label_lists_the_classes_it_fits() -> None:
    labels = ["tabby, tabby cat", "tiger cat", "hot dog"]
    explainer = Explainer(linear("3,4,4", noise(3, 48)), preprocess=AS_IT_IS, labels=labels)
    with pytest.raises(
        TargetError, match=r"'cat' fits 2 classes: 0 \(tabby, tabby cat\), 1 \(tiger cat\); give"
    ):
        explainer.explain(PICTURE, "occlusion", "cat")
    assert explainer.explain(PICTURE, "occlusion", "tiger cat").target.name == "1_tiger_cat"


def test_a_class_without_a_label_is_called_by_its_index() -> None:
    explainer = Explainer(linear("3,4,4", noise(3, 48)), preprocess=AS_IT_IS, labels=["cat"])
    target = explainer.explain(PICTURE, "occlusion", 2).target
    assert (target.name, target.label, target.title) == ("2", None, "2")


@pytest.mark.parametrize("method", ["occlusion", "gradient"])
def test_a_list_of_labels_that_is_too_short_is_a_warning(method: str) -> None:
    made = linear("3,4,4", noise(3, 48))
    for labels, warned in ((["cat"], True), (["cat", "dog", "fox"], False)):
        explainer = Explainer(made, preprocess=AS_IT_IS, labels=labels)
        for explanation in explainer.explain_each(PICTURE, method, [0, 2]):
            said = " ".join(explanation.diagnostics.get("warnings", ()))
            assert ("labels (given) are a list of 1, and the model has 3 classes" in said) == warned


def test_short_labels_are_not_what_makes_a_map_empty() -> None:
    explainer = Explainer(linear("3,4,4", np.zeros((3, 48))), preprocess=AS_IT_IS, labels=["cat"])
    with pytest.raises(MapError, match="shows nothing: perhaps nothing here changes the score"):
        explainer.explain(PICTURE, "occlusion", 0)


def test_region_and_element_of_a_segmentation() -> None:
    """The output is the picture, channel by channel: a pixel's score is that pixel alone."""
    identity = np.eye(3).reshape(3, 3, 1, 1)
    text = "g (float[N,3,6,8] x) => (float[N,3,6,8] y) { y = Conv(x, k) }"
    explainer = Explainer(model(text, k=identity), preprocess=AS_IT_IS)
    x = np.arange(1, 145, dtype=np.float32).reshape(1, 3, 6, 8)
    options = {"window": 1, "stride": 1, "fill": "zeros"}
    found = explainer.attribute(x, "occlusion", Element((1, 2, 5)), **options)
    expected = np.zeros((1, 3, 6, 8))
    expected[:, :, 2, 5] = x[0, 1, 2, 5]  # covering a pixel covers all of its channels
    assert_array_equal(found.values, expected)
    assert found.targets[0].name == "element 1,2,5"

    weights = np.zeros((3, 6, 8), np.float32)
    weights[2, 1:3, 4:] = 1 / 8
    found = explainer.attribute(x, "occlusion", Mask(weights, "sky"), **options)
    assert_allclose(found.values[0, 0], weights[2] * x[0, 2], rtol=1e-5)
    assert found.targets[0].name == "sky"


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_similarity_to_an_embedding_needs_no_probabilities(score: str) -> None:
    explainer = Explainer(linear("3,4,4", noise(5, 48)), preprocess=AS_IT_IS)
    x, other = noise(2, 3, 4, 4, seed=1)[:, None]
    embed = noise(5, 48)
    a, b = (embed @ value.ravel() + 1 for value in (x, other))
    found = explainer.attribute(
        x, "occlusion", Similarity(b, "to other"), fill="zeros", score=score
    )
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert_allclose(found.scores, [cosine], rtol=1e-5)
    without = x.copy()
    without[..., 0, 0] = 0
    c = embed @ without.ravel() + 1
    lost = cosine - c @ b / np.linalg.norm(c) / np.linalg.norm(b)
    assert_allclose(found.values[0, :, 0, 0], np.full(3, lost), atol=1e-5)


@pytest.mark.parametrize("method", ["input_x_gradient", "hirescam"])
def test_more_classes_by_rank_than_one_graph_takes(method: str) -> None:
    """Eight targets share a graph; the ninth and the tenth are ranks of the next one."""
    made = model(
        """g (float[N,3,4,5] x) => (float[N,12] y)
        { a = Conv(x, k) p = GlobalAveragePool(a) y = Flatten(p) }""",
        k=noise(12, 3, 1, 1),
    )
    explainer, x = Explainer(made, preprocess=AS_IT_IS), noise_picture(4, 5)
    ranked = explainer.explain_each(x, method, "top10")
    (answers,) = run(made, {"x": np.moveaxis(x, -1, 0)[None].astype(np.float32)})
    order = np.argsort(answers[0])[::-1]
    assert [found.target.index for found in ranked] == order[:10].tolist()
    for found in ranked:
        assert found.target.index is not None
        same = explainer.explain(x, method, found.target.index)
        assert_allclose(found.values, same.values, rtol=1e-5, atol=1e-7)


def two_colors() -> Explainer:
    """Three classes, each a sum of colors; the classes are sorted by score on `BLUE`."""
    made = model(
        """g (float[N,3,4,5] x) => (float[N,3] y)
        { a = Conv(x, k) p = GlobalAveragePool(a) y = Flatten(p) }""",
        k=MIXED[..., None, None],
    )
    return Explainer(made, preprocess=AS_IT_IS, labels=["sea", "tabby", "tiger - cat"])


MIXED = np.array([[1, 0, 3], [0.5, 2, 0], [-0.1, 0.25, 0.5]], np.float32)
BLUE = noise_picture(4, 5) / [4, 20, 2] + [0, 0, 100]


@pytest.mark.parametrize(
    ("target", "weights", "name"),
    [
        ("0-1", MIXED[0] - MIXED[1], "0_sea-1_tabby"),
        ("sea - tabby", MIXED[0] - MIXED[1], "0_sea-1_tabby"),
        ("top2-top1", MIXED[2] - MIXED[0], "2_tiger_-_cat-0_sea"),
        ("1-top1", MIXED[1] - MIXED[0], "1_tabby-0_sea"),
        ("tiger - cat", MIXED[2], "2_tiger_-_cat"),
        ("0-0.5*1", MIXED[0] - 0.5 * MIXED[1], "0_sea-0.5x1_tabby"),
        ("sea - 0.25 * tabby", MIXED[0] - 0.25 * MIXED[1], "0_sea-0.25x1_tabby"),
        ("not:1", -MIXED[1], "not_1_tabby"),
        ("not:sea", -MIXED[0], "not_0_sea"),
    ],
)
@pytest.mark.parametrize("method", ["input_x_gradient", "occlusion", "deeplift"])
def test_one_class_rather_than_another(target: str, weights: Any, name: str, method: str) -> None:
    explainer, x = two_colors(), np.moveaxis(BLUE, -1, 0).astype(np.float32)
    options = {"window": 1, "stride": 1} if method == "occlusion" else {}
    found = explainer.explain(BLUE, method, target, **options)
    each = weights[:, None, None] * x / 20
    expected = np.broadcast_to(each.sum(axis=0), x.shape) if method == "occlusion" else each
    assert_allclose(found.values, expected, rtol=1e-3, atol=1e-3)
    assert found.target.name == name
    assert found.score == pytest.approx(each.sum(), rel=1e-4)


def test_a_comparison_says_what_its_score_is() -> None:
    found = two_colors().explain(BLUE, "input_x_gradient", "0-1")
    assert (found.score_kind, found.target.title) == (
        "difference of two logits",
        "sea rather than tabby",
    )
    found = two_colors().explain(BLUE, "input_x_gradient", "0-0.5*1")
    assert (found.score_kind, found.target.title) == (
        "weighted difference of two logits",
        "sea rather than 0.5 * tabby",
    )
    found = two_colors().explain(BLUE, "input_x_gradient", "not:1")
    assert (found.score_kind, found.target.title) == ("negative logit", "not tabby")
    with pytest.raises(TargetError, match="There is no class 7"):
        two_colors().explain(BLUE, "gradient", "0-7")
    mixed = Contrast(Class(0), Similarity(np.ones(3)))
    with pytest.raises(TargetError, match="are numbers of different kinds"):
        two_colors().explain(BLUE, "gradient", mixed)


def test_probabilities_that_rounding_puts_above_one_get_no_softmax() -> None:
    made = model(
        "g (float[N,3,4,4] x) => (float[N,3] y) { p = GlobalAveragePool(x) y = Flatten(p) }"
    )
    x = np.zeros((1, 3, 4, 4), np.float32)
    x[:, 1] = 1.0000002
    found = Explainer(made, preprocess=AS_IT_IS).attribute(x, "occlusion", 1, score="probability")
    assert found.scores[0] == pytest.approx(1, abs=1e-6)


def test_a_number_above_all_indices_is_a_label() -> None:
    made = model(
        "g (float[N,3,4,4] x) => (float[N,3] y) { p = GlobalAveragePool(x) y = Flatten(p) }"
    )
    ages = Explainer(made, preprocess=AS_IT_IS, labels=["20", "30", "1"])
    for target, index in (("30", 1), ("not:20", 0), ("1", 1), ("2", 2)):
        values = ages.attribute(noise(1, 3, 4, 4), "gradient", target).values
        assert values[0, index].any()
        assert not np.delete(values[0], index, axis=0).any()
    with pytest.raises(TargetError, match="There is no class 40"):
        ages.attribute(noise(1, 3, 4, 4), "gradient", "40")


@pytest.mark.parametrize("shape", ["N", "N,1"])
def test_one_number_for_each_sample_is_one_score(shape: str) -> None:
    squeezed = "y = Squeeze(s, axes)" if shape == "N" else "y = Identity(s)"
    made = model(
        f"""g (float[N,3,4,5] x) => (float[{shape}] y)
        {{ p = GlobalAveragePool(x) f = Flatten(p) s = MatMul(f, w) {squeezed} }}""",
        w=MIXED[:1].T,
    )
    made.graph.initializer.extend([numpy_helper.from_array(np.array([1]), "axes")])
    x, explainer = noise(3, 3, 4, 5), Explainer(made, preprocess=AS_IT_IS)
    for method in ("input_x_gradient", "occlusion"):
        options = {"window": 1, "fill": "zeros"} if method == "occlusion" else {}
        found = explainer.attribute(x, method, "top1", **options)
        each = MIXED[0][:, None, None] * x / 20
        expected = each if not options else each.sum(axis=1, keepdims=True) + 0 * each
        assert_allclose(found.values, expected, rtol=1e-3, atol=1e-5)
        assert_allclose(found.scores, each.sum(axis=(1, 2, 3)), rtol=1e-4, atol=1e-6)
    assert explainer.explain(BLUE, "input_x_gradient").score_kind == "output"


def test_classes_without_a_batch_axis_are_refused() -> None:
    """Else the first class would be the only one."""
    made = model(
        """g (float[1,3,4,5] x) => (float[3] y) { p = GlobalAveragePool(x) y = Squeeze(p, axes) }"""
    )
    made.graph.initializer.extend([numpy_helper.from_array(np.array([0, 2, 3]), "axes")])
    for method in ("occlusion", "gradient"):
        with pytest.raises(ModelError, match="one axis of 3 numbers for 1 samples"):
            Explainer(made, preprocess=AS_IT_IS).explain(BLUE, method)
