"""Explanations of the cosine with a reference, and of answers that are embeddings."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from explainer.formulas import (
    AS_IT_IS,
    NET_R_SHAPES,
    OPTIONS,
    linear,
    model,
    noise,
    noise_picture,
)
from numpy.testing import assert_allclose, assert_array_equal
from onnx import ModelProto, TensorProto, helper
from tiny import run

from onnxplain import Explainer
from onnxplain.errors import MapError, OnnxplainError, TargetError
from onnxplain.images.preprocess import Preprocess
from onnxplain.targets import Mask, Similarity
from tools.cases import nets

Array = np.ndarray[Any, np.dtype[Any]]
PICTURE = noise_picture()
SIZES = Preprocess(size=(20, 26), scale=1 / 255, mean=(0.5,), std=(0.2,))


@pytest.fixture(scope="module")
def features() -> Explainer:
    """Net R, cut at its pooled features: an embedding of eight elements."""
    return Explainer(nets.net_r(), preprocess=SIZES, output="flat")


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a picture of noise."""

    def write(name: str = "other.png", seed: int = 5) -> Path:
        pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), pixels)
        return path

    return write


def embedded(picture: Array) -> Array:
    """The features of net R, by ONNX Runtime alone."""
    net = nets.net_r()
    net.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, None))
    (found,) = run(net, {"x": SIZES.apply(picture)[0]}, ["flat"])
    return found[0].astype(np.float64)


def read(path: Path) -> Array:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


REFUSED = {"cam": "single outputs", "regression_activation_map": "single outputs"} | dict.fromkeys(
    ("lrp", "deeplift"), r"a weighted sum \(targets\.Mask\)"
)


@pytest.mark.parametrize("method", NET_R_SHAPES)
def test_every_method(features: Explainer, save: Callable[..., Path], method: str) -> None:
    """A name with commas and "@" is one file. Methods that read probabilities add no softmax."""
    other = save("a, b@2 - c.png")
    options, target = OPTIONS.get(method, {}), f"similar:{other}"
    if method in REFUSED:
        with pytest.raises(TargetError, match=REFUSED[method]):
            features.explain(PICTURE, method, target, **options)
        return
    found = features.explain(PICTURE, method, target, **options)
    expected = cosine(embedded(PICTURE), embedded(read(other)))
    assert found.score == pytest.approx(expected, abs=1e-6)
    assert found.score_kind == "cosine similarity"
    assert found.values.shape == NET_R_SHAPES[method]
    assert found.target.label == "similarity to a, b@2 - c.png"
    (reference,) = found.target.references
    assert (reference.path, reference.elements) == (other, 8)


@pytest.mark.parametrize("method", ["lrp", "deeplift"])
def test_a_dot_product_for_methods_that_distribute(
    features: Explainer, save: Callable[..., Path], method: str
) -> None:
    other = save()
    target = Mask(features.similarity(other).reference)
    found = features.explain(PICTURE, method, target, **OPTIONS.get(method, {}))
    assert found.score == pytest.approx(embedded(PICTURE) @ embedded(read(other)), rel=1e-5)


def test_a_difference_and_an_opposite(features: Explainer, save: Callable[..., Path]) -> None:
    one, other = save("one.png", 1), save("other.png", 2)
    options = {"window": (20, 26), "fill": "black"}
    a = embedded(PICTURE)
    black = embedded(np.zeros_like(PICTURE))

    def lost(reference: Path) -> float:
        b = embedded(read(reference))
        return cosine(a, b) - cosine(black, b)

    for target, expected in (
        (f"similar:{one} - similar:{other}", lost(one) - lost(other)),
        (f"not:similar:{one}", -lost(one)),
    ):
        # The whole picture is one window.
        x = SIZES.apply(PICTURE)[0]
        found = features.attribute(x, "occlusion", target, **options)
        assert_allclose(found.values, expected, atol=1e-6)


def test_the_gradient_of_a_linear_embedding() -> None:
    """The gradient of cos(Wx + 1, b) is W^T (u_b - cos u_a) / |a|, with unit vectors u."""
    weights, x, other = noise(40, 48), noise(1, 3, 4, 4, seed=1), noise(40, seed=2)
    explainer = Explainer(linear("3,4,4", weights), preprocess=AS_IT_IS)
    found = explainer.attribute(x, "gradient", Similarity(other))
    w, b = weights.astype(np.float64), other.astype(np.float64)
    a = w @ x.ravel() + 1
    length = np.linalg.norm(a)
    expected = w.T @ (b / np.linalg.norm(b) - cosine(a, b) * a / length) / length
    assert_allclose(found.values.ravel(), expected, rtol=1e-4, atol=1e-6)
    assert_allclose(found.scores, [cosine(a, b)], rtol=1e-5)


def pooled(weights: Array, last: str = "e = Flatten(p)") -> ModelProto:
    """The mean of a 1 x 1 convolution over 4 x 5 places, called `e`."""
    return model(
        f"g (float[N,3,4,5] x) => (float[N,{len(weights)}] e)"
        f"{{ a = Conv(x, k) p = GlobalAveragePool(a) {last} }}",
        k=weights[..., None, None],
    )


def test_maps_of_a_layer_are_the_published_ones() -> None:
    """HiResCAM is A · (u_b - cos u_a) / (n |a|) in each cell, and the dot product's is A · u_b / n.

    The second one divided by |a| is the decomposition of Stylianou et al., WACV 2019: its cells add
    up to the cosine. Those of the first add up to 0, because the cosine does not depend on |a|.
    """
    weights, x, other = noise(40, 3), noise(1, 3, 4, 5, seed=1), noise(40, seed=2)
    explainer = Explainer(pooled(weights), preprocess=AS_IT_IS)
    cells = np.einsum("kc,cij->kij", weights.astype(np.float64), x[0].astype(np.float64))
    a, b = cells.mean(axis=(1, 2)), other.astype(np.float64)
    length, u_b = np.linalg.norm(a), b / np.linalg.norm(b)
    options = {"layer": "a"}
    slope = (u_b - cosine(a, b) * a / length) / length / 20
    found = explainer.attribute(x, "hirescam", Similarity(other), **options)
    assert_allclose(found.values[0], np.tensordot(slope, cells, 1), rtol=1e-3, atol=1e-6)
    assert abs(found.values.sum()) < 1e-5
    # After a mean over all places the gradient is the same in each of them.
    same = explainer.attribute(x, "gradcam", Similarity(other), relu=False, **options)
    assert_allclose(same.values, found.values, rtol=1e-3, atol=1e-6)
    dot = explainer.attribute(x, "hirescam", Mask(u_b.astype(np.float32)), **options)
    assert_allclose(dot.values[0], np.tensordot(u_b / 20, cells, 1), rtol=1e-3, atol=1e-6)
    assert dot.values.sum() / length == pytest.approx(cosine(a, b), rel=1e-4)


def test_occlusion_is_sbsm_with_half_of_the_squared_distance() -> None:
    """Dong et al., CVPR workshops 2019: the mean change of the distance over a pixel's windows.

    For unit vectors d² = 2 - 2 cos, so half of the change of d² is the cosine that is lost. The
    paper takes d and drops negative changes.
    """
    weights, other = noise(40, 3), noise(40, seed=2)
    normalized = pooled(weights, "f = Flatten(p) e = LpNormalization<axis=1, p=2>(f)")
    x = noise(1, 3, 4, 5, seed=1)
    unit = other.astype(np.float64) / np.linalg.norm(other.astype(np.float64))

    def squared(sample: Array) -> float:
        a = weights.astype(np.float64) @ sample.mean(axis=(1, 2))
        return float(np.sum((a / np.linalg.norm(a) - unit) ** 2))

    changes, cover, whole = np.zeros((4, 5)), np.zeros((4, 5)), x[0].astype(np.float64)
    for row in range(3):
        for column in range(4):
            window = np.s_[row : row + 2, column : column + 2]
            masked = whole.copy()
            masked[(slice(None), *window)] = 0
            changes[window] += (squared(masked) - squared(whole)) / 2
            cover[window] += 1
    explainer = Explainer(normalized, preprocess=AS_IT_IS)
    options = {"window": 2, "stride": 1, "fill": "zeros"}
    found = explainer.attribute(x, "occlusion", Similarity(other), **options)
    expected = np.broadcast_to(changes / cover, (3, 4, 5))
    assert_allclose(found.values[0], expected, rtol=1e-4, atol=1e-6)


def test_a_saved_embedding(features: Explainer, save: Callable[..., Path], tmp_path: Path) -> None:
    other = save()
    saved = tmp_path / "saved.npy"
    np.save(saved, embedded(read(other))[None])
    found, same = (
        features.explain(PICTURE, "hirescam", f"similar:{path}") for path in (saved, other)
    )
    assert_allclose(found.values, same.values, rtol=1e-3, atol=1e-6)
    array = features.explain(PICTURE, "hirescam", Similarity(np.load(saved)))
    assert_array_equal(array.values, found.values)
    x = SIZES.apply(PICTURE)[0]
    attributed = features.attribute(x, "hirescam", f"similar:{saved}")
    assert_allclose(attributed.values[0], found.values, atol=1e-6)


@pytest.mark.parametrize("given", ["path", "bytes", "array"])
def test_a_picture_in_python(features: Explainer, save: Callable[..., Path], given: str) -> None:
    other = save()
    forms = {"path": other, "bytes": other.read_bytes(), "array": read(other)}
    target = features.similarity(forms[given])
    assert_allclose(target.reference, embedded(read(other)), rtol=1e-5, atol=1e-6)
    assert (target.path == other) == (given == "path")


def test_the_reference_is_run_once(save: Callable[..., Path]) -> None:
    features = Explainer(nets.net_r(), preprocess=SIZES, output="flat")
    other = save()
    pictures = [noise_picture(30 + i) for i in range(3)]
    features.explain(PICTURE, "hirescam", f"similar:{other}")
    before = features.session_runs
    several = list(features.explain_many(pictures, "hirescam", f"similar:{other}"))
    assert features.session_runs - before <= len(several)
    assert len({explanation.score for explanation in several}) == 3


def test_a_changed_file_is_read_again(features: Explainer, save: Callable[..., Path]) -> None:
    other = save(seed=1)
    before = features.similarity(other)
    save(seed=2)
    os.utime(other, ns=(0, 0))
    after = features.similarity(other)
    assert np.abs(before.reference - after.reference).max() > 1e-3


def test_other_weights_have_other_references(
    features: Explainer, save: Callable[..., Path]
) -> None:
    other = save()
    changed = nets.net_r()
    for weights in changed.graph.initializer:
        if weights.name == "kernel1":
            weights.raw_data = (-np.frombuffer(weights.raw_data, np.float32)).tobytes()
    trained = features.similarity(other)
    copy = features.with_model(Explainer(changed, preprocess=SIZES, output="flat").model)
    assert np.abs(copy.similarity(other).reference - trained.reference).max() > 1e-3


@pytest.mark.parametrize("sign", ["", "not:"])
def test_a_picture_is_not_compared_with_itself_by_a_gradient(
    features: Explainer, save: Callable[..., Path], sign: str
) -> None:
    other = save()
    target = f"{sign}similar:{other}"
    for method in ("hirescam", "gradient"):
        with pytest.raises(MapError, match=r"already at its limit.*use occlusion"):
            features.explain(other, method, target)
    assert features.explain(other, "occlusion", target).score == pytest.approx(1 - 2 * bool(sign))
    assert features.explain(other, "integrated_gradients", target).values.any()
    x = SIZES.apply(read(other))[0]
    (said,) = features.attribute(x, "gradient", target).diagnostics["samples"]
    assert any("already at its limit" in warning for warning in said["warnings"])
    # The other target of the same picture is still explained.
    maps = features.try_each(other, "hirescam", [target, f"similar:{save('b.png', 1)}"])
    assert [isinstance(one, MapError) for one in maps] == [True, False]


def bad(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    if name == "zero.npy":
        np.save(path, np.zeros(8))
    elif name == "short.npy":
        np.save(path, np.ones(3))
    elif name == "text.npy":
        np.save(path, np.array(["a"]))
    elif name == "broken.jpg":
        path.write_bytes(b"no picture")
    return path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.jpg", r"The reference .*none\.jpg cannot be used: .*does not exist"),
        ("a.jpg,b.jpg", r"a\.jpg,b\.jpg does not exist\. For several files give each one its own"),
        ("none.npy", r"The reference .*none\.npy cannot be used: There is no file"),
        ("broken.jpg", r"The reference .*broken\.jpg cannot be used: "),
        ("zero.npy", "cannot be used: The reference embedding is zero"),
        ("text.npy", "cannot be used: it holds values of type <U1, not numbers"),
        ("short.npy", r"The reference .*short\.npy has 3 elements, the answer 8"),
    ],
)
def test_references_that_are_none(
    features: Explainer, tmp_path: Path, name: str, sentence: str
) -> None:
    target = f"similar:{bad(tmp_path, name)}"
    for method in ("hirescam", "occlusion"):
        with pytest.raises(TargetError, match=sentence) as caught:
            features.explain(PICTURE, method, target)
        assert str(caught.value).count(". ") == name.count(","), "one sentence, and a hint"


EMBEDDING = r"is an embedding \(the layer Gemm 'y' comes after it\), so '.*' is no class.*similar:"


def test_an_embedding_whose_size_is_not_declared() -> None:
    """Exporters leave the size after a division or a gather open."""
    made = pooled(noise(40, 3), "f = Flatten(p) e = LpNormalization<axis=1, p=2>(f)")
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "Dive_dim_1"
    assert Explainer(made, preprocess=AS_IT_IS).embedding == "it is divided by its length"


@pytest.mark.parametrize("target", ["top1", "top5", 3, "3", "cat", "0-1", "not:2"])
def test_an_embedding_has_no_classes(features: Explainer, target: Any) -> None:
    for method in ("hirescam", "occlusion"):
        with pytest.raises(TargetError, match=EMBEDDING):
            features.explain_each(PICTURE, method, target)


def test_methods_without_a_target_explain_an_embedding(features: Explainer) -> None:
    assert features.explain(PICTURE, "eigencam").target.name == "no_class"
    assert features.explain(PICTURE, "feature_maps").target.name == "no_class"
    with pytest.raises(TargetError, match=EMBEDDING):
        features.explain(PICTURE, "eigencam", 3)


@pytest.mark.parametrize("method", ["occlusion", "rise", "hirescam"])
def test_one_component_of_an_embedding(features: Explainer, method: str) -> None:
    found = features.explain(PICTURE, method, "element:3", **OPTIONS.get(method, {}))
    assert found.score == pytest.approx(embedded(PICTURE)[3], rel=1e-5)
    assert (found.target.name, found.score_kind) == ("element 3", "output")
    with pytest.raises(TargetError, match=r"no element \(8,\)"):
        features.explain(PICTURE, method, "element:8")


def labeled(tmp_path: Path, count: int) -> Path:
    """Net R with as many labels as `count` next to it."""
    path = tmp_path / "net.onnx"
    path.write_bytes(nets.net_r().SerializeToString())
    names = ", ".join(f'"name{i}"' for i in range(count))
    (tmp_path / "net.onnxplain.json").write_text(f'{{"labels": [{names}]}}')
    return path


def test_labels_belong_to_the_output_that_a_cut_removes(tmp_path: Path) -> None:
    """Even if there are as many as features."""
    for count in (5, 8):
        path = labeled(tmp_path, count)
        cut = Explainer(path, preprocess=SIZES, output="flat")
        assert cut.labels is None
        with pytest.raises(TargetError, match="is an embedding"):
            cut.explain(PICTURE, "occlusion", "name3")
    whole = Explainer(labeled(tmp_path, 5), preprocess=SIZES)
    assert whole.explain(PICTURE, "cam", "name3").target.index == 3
    # What the user says of this answer is true.
    named = Explainer(path, preprocess=SIZES, output="flat", labels=list("abcdefgh"))
    assert named.explain(PICTURE, "occlusion", "d").target.index == 3


def called(tmp_path: Path, name: str, count: int) -> Explainer:
    """An answer of 40 elements, called `name`, with `count` labels next to the model."""
    made = linear("3,4,4", noise(40, 48))
    made.graph.node[-1].output[0] = made.graph.output[0].name = name
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    names = ", ".join(f'"name{i}"' for i in range(count))
    path.with_suffix(".onnxplain.json").write_text(f'{{"labels": [{names}]}}')
    return Explainer(path, preprocess=AS_IT_IS)


def test_labels_that_fit_say_that_there_are_classes(tmp_path: Path) -> None:
    """Others may be those of the classifier that an embedding was taken from."""
    picture = noise_picture(4, 4)
    explainer = called(tmp_path, "features", 40)
    assert explainer.explain(picture, "occlusion", "name7").target.index == 7
    explainer = called(tmp_path, "features", 1000)
    with pytest.raises(TargetError, match="its output is called 'features'"):
        explainer.explain(picture, "occlusion")
    with pytest.raises(OnnxplainError, match=r"labels .* go up to class 999"):
        called(tmp_path, "y", 1000).explain(picture, "occlusion")


def test_a_single_number_is_no_embedding() -> None:
    made = linear("3,4,4", noise(1, 48))
    made.graph.node[-1].output[0] = made.graph.output[0].name = "embedding"
    found = Explainer(made, preprocess=AS_IT_IS).explain(noise_picture(4, 4), "occlusion")
    assert found.score_kind == "output"


def test_numbers_between_0_and_1_are_not_called_probabilities(save: Callable[..., Path]) -> None:
    """There is no warning about them: the cosine needs no probabilities."""
    explainer = Explainer(pooled(np.abs(noise(40, 3)) / 2000), preprocess=AS_IT_IS)
    found = explainer.explain(noise_picture(4, 5), "rise", "3", samples=30)
    assert any("used as probabilities" in text for text in found.diagnostics["warnings"])
    found = explainer.explain(noise_picture(4, 5), "rise", f"similar:{save()}", samples=30)
    assert not found.diagnostics.get("warnings")
