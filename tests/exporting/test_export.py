"""Exported files of single-pass methods: they give what the explainer gives, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from column_recognizer import recognizer
from explainer.formulas import AS_IT_IS, OF_TRANSFORMERS, noise, noise_picture
from explainer.test_kinds_of_input import KINDS
from explainer.test_segmenters import FORMS as MAP_FORMS
from explainer.test_segmenters import explainer as segmenter
from numpy.testing import assert_allclose, assert_array_equal
from square_detector import detector
from square_detector import picture as squares
from tiny import Array, tiny

import onnxplain
from onnxplain import Explainer, Preprocess
from onnxplain.errors import ModelError, OptionError, TargetError
from onnxplain.methods.base import AdaptiveMethod, SinglePassMethod
from onnxplain.methods.registry import METHODS

BOXED = Preprocess(size=(64, 64), scale=1 / 255, fit="stretch")

Export = Callable[..., Callable[..., dict[str, Array]]]

NEEDS_TOKENS = OF_TRANSFORMERS
NEEDS_POOL = {"cam", "regression_activation_map"}
SINGLE = [name for name, kind in METHODS.items() if issubclass(kind, SinglePassMethod)]
ADAPTIVE = [name for name, kind in METHODS.items() if issubclass(kind, AdaptiveMethod)]


@pytest.fixture(scope="module")
def squeezenet() -> Explainer:
    return Explainer("models/squeezenet1_1.onnx")


@pytest.fixture(scope="module")
def vit() -> Explainer:
    return Explainer("models/digit_vit.onnx")


def near(found: Array, expected: Array, limit: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= limit * np.abs(expected).max()


def compare(
    run: Callable[..., dict[str, Array]],
    explainer: Explainer,
    method: str,
    x: Array,
    top: list[Any],
) -> None:
    """Against `attribute`, for one sample and for all of them with targets of their own."""
    for count in {1, len(x)}:
        codes = [-1 if target == "top1" else target for target in top[:count]]
        found = run(x[:count], codes)
        expected = explainer.attribute(x[:count], method, top[:count])
        for ours, theirs in zip(found["values"], expected.values, strict=True):
            near(ours, theirs)
        assert found["explained"].tolist() == [target.index for target in expected.targets]
        assert_array_equal(found["status"], 0)
        for name, value in explainer.predict(x[:count]).items():
            near(found[name], value, 1e-6)


@pytest.mark.parametrize("method", [name for name in SINGLE if name not in NEEDS_TOKENS])
def test_squeezenet(exported: Export, squeezenet: Explainer, method: str) -> None:
    x = np.concatenate(squeezenet.samples(sorted(Path("models/pictures").glob("*.png"))[:4]))
    compare(exported(squeezenet, method), squeezenet, method, x, ["top1", 5, 281, "top1"])


@pytest.mark.parametrize("method", [name for name in SINGLE if name not in NEEDS_POOL])
def test_a_transformer(exported: Export, vit: Explainer, method: str) -> None:
    x = np.concatenate(vit.samples(sorted(Path("models/scenes").glob("*.png"))))
    compare(exported(vit, method), vit, method, x, ["top1", 5, 0, 2])


@pytest.mark.parametrize("method", ["gradcam", "layercam", "gradient", "lrp"])
def test_efficientnet(exported: Export, method: str) -> None:
    explainer = Explainer("models/efficientnet_lite0.onnx")
    x = np.concatenate(explainer.samples(sorted(Path("models/pictures").glob("*.png"))[:4]))
    compare(exported(explainer, method), explainer, method, x, ["top1", 5, 281, "top1"])


@pytest.mark.parametrize(
    "method", ["gradcam", "shapleycam", "gradient", "eigencam", "kpcacam", "fem"]
)
def test_the_heatmap_is_that_of_run(exported: Export, squeezenet: Explainer, method: str) -> None:
    x = squeezenet.samples(["models/pictures/chelsea.png"])[0]
    expected = squeezenet.explain(x, method).heatmap
    found = exported(squeezenet, method)(x, [-1])["heatmap"]
    assert found.shape == (1, 227, 227)
    assert_allclose(found[0], expected, atol=2e-6)


@pytest.mark.parametrize(
    "options",
    [{"layer": "all"}, {"layer": "all", "fuse": "max"}, {"layer": "all", "fuse": "product"}],
)
def test_maps_of_several_layers(
    exported: Export, squeezenet: Explainer, options: dict[str, Any]
) -> None:
    x = squeezenet.samples(["models/pictures/chelsea.png"])[0]
    expected = squeezenet.explain(x, "layercam", 281, **options)
    found = exported(squeezenet, "layercam", **options)(x, [281])
    near(found["values"][0], expected.values)
    assert_allclose(found["heatmap"][0], expected.heatmap, atol=2e-6)


def test_options_of_the_method(exported: Export, squeezenet: Explainer) -> None:
    x = squeezenet.samples(["models/pictures/chelsea.png"])[0]
    options = {"layer": "fire5/concat", "relu": False, "score": "probability"}
    options["layer"] = squeezenet.layers()[5].tensor
    found = exported(squeezenet, "gradcam", **options)(x, [-1])
    near(found["values"], squeezenet.attribute(x, "gradcam", **options).values)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradcam", {"smooth": "eigen"}),
        ("gradient", {"sigma": 9.5}),
        ("input_x_gradient", {"sigma": 15}),
    ],
)
def test_smoother_maps(
    exported: Export, squeezenet: Explainer, method: str, options: dict[str, Any]
) -> None:
    x = squeezenet.samples(["models/pictures/chelsea.png"])[0]
    expected = squeezenet.explain(x, method, 281, **options)
    found = exported(squeezenet, method, **options)(x, [281])
    near(found["values"][0], expected.values)
    assert_allclose(found["heatmap"][0], expected.heatmap, atol=5e-6)


MEANS = {"mean": (2, 3), "any": (2, 3)}


def means(**constants: Any) -> Explainer:
    """Class k is the mean of channel k, above what a rectifier lets through."""
    made = tiny(
        "r = Relu(x) y = ReduceMean<axes=[2,3], keepdims=0>(r)",
        "float[N,3,8,8] x",
        "float[N,3] y",
    )
    return Explainer(made, preprocess=AS_IT_IS)


def test_a_status_for_each_sample(exported: Export) -> None:
    """Two of five samples have a map; the others say why not, and no number is NaN."""
    x = noise(5, 3, 8, 8)
    x[1] = -1  # the gradient is 0
    x[2, 0, 0, 0] = np.nan
    run = exported(means(), "input_x_gradient")
    found = run(x, [-1, -1, 1, 3, 2])
    assert found["status"].tolist() == [0, 1, 2, 3, 0]
    for shown, status in zip(found["heatmap"], found["status"], strict=True):
        assert (shown.min(), shown.max()) == ((0, 0) if status else (0, 1))
    assert found["status"].dtype == np.int64
    assert run(x[:1], [-2])["status"].tolist() == [3]
    for sample, target in ((0, None), (4, 2)):
        expected = means().explain(x[sample : sample + 1], "input_x_gradient", target or "top1")
        assert_allclose(found["heatmap"][sample], expected.heatmap, atol=1e-6)


def test_a_map_without_positive_values_is_not_drawn_warm(exported: Export) -> None:
    x = -1 - np.abs(noise(1, 3, 8, 8))
    made = tiny("y = ReduceMean<axes=[2,3], keepdims=0>(x)", "float[N,3,8,8] x", "float[N,3] y")
    explainer = Explainer(made, preprocess=AS_IT_IS)
    found = exported(explainer, "input_x_gradient")(x, [0])
    assert found["heatmap"].max() < 1
    assert_allclose(
        found["heatmap"][0], explainer.explain(x, "input_x_gradient", 0).heatmap, atol=1e-6
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "any size"])
def test_layouts_and_types_of_the_input(exported: Export, kind: str) -> None:
    """Each has the input of the model, in its own type."""
    declared, body, settings = KINDS[kind]
    explainer = Explainer(
        tiny(body, f"{declared} x", "float[N,3] y"),
        preprocess=AS_IT_IS | {"fit": "stretch"} | settings,
    )
    picture = noise_picture(8, 8)
    x = explainer.samples([picture])[0]
    found = exported(explainer, "input_x_gradient")(x, [1])
    near(found["values"], explainer.attribute(x, "input_x_gradient", 1).values)
    heat = explainer.explain(picture, "input_x_gradient", 1).heatmap
    assert_allclose(found["heatmap"][0], heat, atol=2e-6)
    near(found["y"], explainer.predict(x)["y"])


def test_a_model_of_any_size_gets_the_size_of_the_settings(exported: Export) -> None:
    declared, body, _ = KINDS["any size"]
    explainer = Explainer(
        tiny(body, f"{declared} x", "float[N,3] y"), preprocess=AS_IT_IS | {"size": (6, 10)}
    )
    found = exported(explainer, "input_x_gradient")(noise(2, 3, 6, 10), [0, 1])
    assert found["heatmap"].shape == (2, 6, 10)


def test_a_fixed_batch_of_one_becomes_any_batch(exported: Export) -> None:
    made = tiny(
        "r = Relu(x) m = ReduceMean<axes=[2,3]>(r) y = Reshape(m, to)",
        "float[1,3,8,8] x",
        "float[1,3] y",
        to=np.array([1, 3]),
    )
    explainer = Explainer(made, preprocess=AS_IT_IS)
    x = noise(4, 3, 8, 8)
    found = exported(explainer, "input_x_gradient")(x, [0, 1, 2, -1])
    each = [explainer.attribute(x[i : i + 1], "input_x_gradient", t).values
            for i, t in enumerate([0, 1, 2, "top1"])]  # fmt: skip
    near(found["values"], np.concatenate(each))
    assert found["y"].shape == (4, 3)


@pytest.mark.parametrize("form", MAP_FORMS)
def test_a_segmenter(exported: Export, form: str) -> None:
    """The class where it is predicted; −1 is the class with the largest area."""
    explainer, picture = segmenter(form), noise_picture(6, 8)
    x = explainer.samples([picture])[0]
    run = exported(explainer, "input_x_gradient")
    for target, code in (("top1", -1), ("dog", 2), ("sky", 0)):
        expected = explainer.explain(picture, "input_x_gradient", target)
        found = run(x, [code])
        near(found["values"][0], expected.values)
        assert found["explained"].tolist() == [expected.target.index]
    if form == "labels":
        return  # its nodes take one sample
    mixed = run(np.concatenate([x, x]), [2, -1])
    near(mixed["values"][0], run(x, [2])["values"][0])
    near(mixed["values"][1], run(x, [-1])["values"][0])


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient"])
def test_a_detector(exported: Export, method: str) -> None:
    """A row of the boxes; −1 is the row with the largest score, the first box of `run`."""
    explainer = Explainer(detector(metadata=True), preprocess=BOXED)
    picture = squares()
    x = explainer.samples([picture])[0]
    run = exported(explainer, method)
    boxes = explainer.detections(picture)
    assert len(boxes) >= 3
    found = run(x, [-1])
    near(found["values"][0], explainer.explain(picture, method, boxes[0]).values)
    scores = found["y"][0, 4:].max(axis=0)
    assert found["explained"].tolist() == [scores.argmax()]
    for box in boxes[1:]:
        corners = found["y"][0, :2].T - np.reshape(box.corners, (2, 2)).mean(axis=0)
        (row,) = np.flatnonzero(
            (np.abs(corners).max(axis=1) < 1e-3) & (np.abs(scores - box.place.confidence) < 1e-6)
        )
        near(run(x, [row])["values"][0], explainer.explain(picture, method, box).values)
    assert run(x, [found["y"].shape[-1]])["status"].tolist() == [3]


@pytest.mark.parametrize(
    ("target", "weights"), [("1", [0, 1, 0]), ("0-2", [1, 0, -1]), ("0-0.5*1", [1, -0.5, 0])]
)
def test_a_target_that_is_fixed_in_the_file(
    exported: Export, target: str, weights: list[float]
) -> None:
    x = noise(2, 3, 8, 8)
    found = exported(means(), "gradient", target=target)(x)
    expected = np.reshape(weights, (1, 3, 1, 1)) * (x > 0) / 64
    assert_allclose(found["values"], expected, atol=1e-7)
    assert "explained" not in found


@pytest.mark.parametrize("target", ["top1", "top5", "p>0.5"])
def test_a_target_that_each_picture_decides_is_not_fixed(exported: Export, target: str) -> None:
    with pytest.raises(TargetError, match="another one in each picture"):
        exported(means(), "gradient", target=target)


def test_several_targets_are_refused(exported: Export) -> None:
    with pytest.raises(TargetError, match="means 3 targets: a file explains one"):
        exported(means(), "gradient", target="all")


def test_an_answer_without_classes_needs_a_target(exported: Export) -> None:
    made = tiny("y = Relu(x)", "float[N,3,8,8] x", "float[N,3,8,8] depth_y")
    made = tiny("depth = Relu(x)", "float[N,3,8,8] x", "float[N,3,8,8] depth")
    explainer = Explainer(made, preprocess=AS_IT_IS)
    with pytest.raises(TargetError, match="name one target, which is then fixed"):
        exported(explainer, "gradient")
    x = noise(1, 3, 8, 8)
    found = exported(explainer, "gradient", target="@all")(x)
    assert_allclose(found["values"], (x > 0) / 192, atol=1e-7)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_methods_that_choose_as_they_go_are_refused(exported: Export, method: str) -> None:
    if method == "activation_maximization":
        pytest.skip("it makes a picture of its own")
    with pytest.raises(OptionError, match="export integrated_gradients, occlusion or rise"):
        exported(means(), method)


def test_names_that_the_model_uses_itself(exported: Export) -> None:
    made = tiny(
        "target = Relu(x) values = ReduceMean<axes=[2,3], keepdims=0>(target)",
        "float[N,3,8,8] x",
        "float[N,3] values",
    )
    x = noise(1, 3, 8, 8)
    explainer = Explainer(made, preprocess=AS_IT_IS)
    found = exported(explainer, "gradient")(x, onnxplain_target=np.array([1]))
    assert list(found) == ["values", "onnxplain_values", "heatmap", "status", "explained"]
    assert found["values"].shape == (1, 3)
    assert found["onnxplain_values"].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("method", ["gradcam", "lrp", "fullgrad"])
def test_the_file(tmp_path: Path, squeezenet: Explainer, method: str) -> None:
    """Standard operators of opset 18, as old a format as it allows, and every weight once."""
    path = onnxplain.export(squeezenet, tmp_path / "file.onnx", method)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 18}
    assert model.ir_version == 8
    assert {node.domain for node in model.graph.node} == {""}
    own = Path("models/squeezenet1_1.onnx").stat().st_size
    assert path.stat().st_size < own + 600_000
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["onnxplain.method"] == method
    assert facts["onnxplain.model"] == "squeezenet1_1.onnx"
    assert facts["onnxplain.model_sha256"] == squeezenet.model.sha256
    assert json.loads(facts["onnxplain.options"])["score"] == "logit"
    assert json.loads(facts["onnxplain.labels"])[281].startswith("tabby")
    assert json.loads(facts["onnxplain.input_size"]) == [227, 227]
    assert model.producer_name == "onnxplain"


def test_weights_in_a_file_of_their_own(tmp_path: Path, squeezenet: Explainer) -> None:
    import onnxruntime as ort

    path = onnxplain.export(squeezenet, tmp_path / "file.onnx", "gradcam", external_data=True)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file.onnx", "file.onnx.data"]
    assert path.stat().st_size < 200_000
    x = squeezenet.samples(["models/pictures/chelsea.png"])[0]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(["values"], {squeezenet.input.name: x, "target": np.array([281])})
    near(found[0], squeezenet.attribute(x, "gradcam", 281).values)


def test_a_model_with_external_weights(tmp_path: Path) -> None:
    """The file is written elsewhere, and needs no other file."""
    model = onnx.load("models/squeezenet1_1.onnx")
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights")
    path = onnxplain.export(tmp_path / "model.onnx", tmp_path / "there" / "file.onnx", "gradcam")
    assert path.stat().st_size > 4_000_000
    with pytest.raises(ModelError, match="made by `onnxplain export` and explains already"):
        onnxplain.export(path, tmp_path / "again.onnx", "gradcam")


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise onnx.checker.ValidationError("no")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(ModelError, match="ONNX's own check refuses"):
        onnxplain.export(means(), tmp_path / "file.onnx", "gradient")
    assert not list(tmp_path.iterdir())


def test_a_signal_and_a_row_of_features(exported: Export) -> None:
    signal = tiny("r = Conv(x, w) y = ReduceMean<axes=[2], keepdims=0>(r)", "float[N,3,32] x",
                  "float[N,3] y", w=noise(3, 3, 5))  # fmt: skip
    x = noise(2, 3, 32)
    found = exported(Explainer(signal), "input_x_gradient")(x, [0, 1])
    expected = Explainer(signal).attribute(x, "input_x_gradient", [0, 1])
    near(found["values"], expected.values)
    assert found["heatmap"].shape == (2, 32)
    row = tiny("y = MatMul(x, w)", "float[N,5] x", "float[N,3] y", w=noise(5, 3))
    x = noise(2, 5)
    found = exported(Explainer(row), "input_x_gradient")(x, [0, 1])
    near(found["values"], Explainer(row).attribute(x, "input_x_gradient", [0, 1]).values)
    assert found["heatmap"].shape == (2, 5)


@pytest.mark.parametrize("method", ["gradient", "gradcam"])
def test_an_embedding_compared_with_a_picture(exported: Export, method: str) -> None:
    inner = Explainer("models/efficientnet_lite0.onnx", output="flatten")
    target = "similar:models/pictures/camera.png"
    x = inner.samples(["models/pictures/chelsea_camera.png"])[0]
    found = exported(inner, method, target=target)(x)
    near(found["values"], inner.attribute(x, method, target).values)


def test_other_inputs_stay_inputs(exported: Export) -> None:
    made = tiny(
        "s = Mul(x, gain) y = ReduceMean<axes=[2,3], keepdims=0>(s)",
        "float[N,3,8,8] x, float[N,1,1,1] gain",
        "float[N,3] y",
    )
    explainer = Explainer(made, preprocess=AS_IT_IS, inputs={"gain": 2.0}, explain_input="x")
    gain = np.array([2, -3], np.float32).reshape(2, 1, 1, 1)
    found = exported(explainer, "gradient")(noise(2, 3, 8, 8), [1, 1], gain=gain)
    expected = np.zeros((2, 3, 8, 8))
    expected[:, 1] = gain[:, 0] / 64
    assert_allclose(found["values"], expected, rtol=1e-6)


def test_a_model_of_half_floats(exported: Export) -> None:
    """The graph computes in float32; the outputs keep their type."""
    made = tiny(
        "r = Relu(x) y = ReduceMean<axes=[2,3], keepdims=0>(r)",
        "float16[N,3,8,8] x",
        "float16[N,3] y",
    )
    explainer = Explainer(made, preprocess=AS_IT_IS)
    x = noise(2, 3, 8, 8).astype(np.float16)
    found = exported(explainer, "input_x_gradient")(x, [0, 2])
    assert found["y"].dtype == np.float16
    expected = np.zeros((2, 3, 8, 8))
    for sample, channel in enumerate([0, 2]):
        expected[sample, channel] = np.maximum(x[sample, channel].astype(np.float64), 0) / 64
    assert_allclose(found["values"], expected, atol=1e-7)


def test_texts_are_refused(exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = means()
    monkeypatch.setattr(Explainer, "reads_texts", property(lambda _: True))
    with pytest.raises(OptionError, match="explained at their embedding"):
        exported(explainer, "gradient")


def test_a_text_recognizer_needs_a_fixed_target(exported: Export) -> None:
    explainer = Explainer(recognizer(), preprocess=AS_IT_IS)
    assert explainer.recognizer is not None
    with pytest.raises(TargetError, match="no classes that an input of the file could choose"):
        exported(explainer, "gradient")


@pytest.mark.parametrize("baseline", ["black", "gray", "mean", "blur", "uniform", 0.3])
def test_baselines_of_deeplift(exported: Export, vit: Explainer, baseline: Any) -> None:
    """Also those that depend on the picture."""
    x = np.concatenate(vit.samples(sorted(Path("models/scenes").glob("*.png"))[:2]))
    found = exported(vit, "deeplift", baseline=baseline)(x, [-1, 3])
    near(found["values"], vit.attribute(x, "deeplift", ["top1", 3], baseline=baseline).values)


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_a_batch_that_is_fixed_in_the_file(tmp_path: Path, vit: Explainer, method: str) -> None:
    import onnxruntime as ort

    path = onnxplain.export(vit, tmp_path / "file.onnx", method, batch_size=2)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {value.shape[0] for value in session.get_inputs() + session.get_outputs()} == {2}
    x = np.concatenate(vit.samples(sorted(Path("models/scenes").glob("*.png"))[:2]))
    (values,) = session.run(["values"], {vit.input.name: x, "target": np.array([-1, 3])})
    near(values, vit.attribute(x, method, ["top1", 3]).values)


def test_a_batch_that_the_model_does_not_take(exported: Export) -> None:
    made = tiny("y = ReduceMean<axes=[2,3], keepdims=0>(x)", "float[4,3,8,8] x", "float[4,3] y")
    explainer = Explainer(made, preprocess=AS_IT_IS)
    with pytest.raises(OptionError, match="takes 4 samples at a time, not 2"):
        exported(explainer, "gradient", batch_size=2)
    with pytest.raises(OptionError, match="takes 4 samples at a time, not 1"):
        exported(explainer, "gradient", with_overlay=True)
