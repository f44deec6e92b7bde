"""Exported files of models with unusual names, types, outputs and inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from explainer.formulas import AS_IT_IS, noise, noise_picture
from explainer.test_kinds_of_input import KINDS
from explainer.test_segmenters import explainer as segmenter
from numpy.testing import assert_allclose, assert_array_equal
from tiny import Array, tiny

import onnxplain
from onnxplain import Explainer
from onnxplain.errors import ModelError, OptionError, TargetError
from onnxplain.exporting.verify import verify
from onnxplain.targets import Class, Mask

Export = Callable[..., Callable[..., dict[str, Array]]]

STRETCHED = AS_IT_IS | {"fit": "stretch"}


def means(body: str = "", **constants: Array) -> Explainer:
    """Class k is the mean of channel k above 0."""
    made = tiny(
        f"r = Relu(x) y = ReduceMean<axes=[2,3], keepdims=0>(r) {body}",
        "float[N,3,8,8] x",
        "float[N,3] y",
        **constants,
    )
    return Explainer(made, preprocess=STRETCHED)


@pytest.mark.parametrize("kind", ["uint8 NHWC", "float16"])
@pytest.mark.parametrize("method", ["rise", "scorecam", "occlusion"])
def test_methods_of_many_runs_take_the_type_of_the_input(
    exported: Export, kind: str, method: str
) -> None:
    declared, _, settings = KINDS[kind]
    pixels = "Transpose<perm=[0,3,1,2]>" if kind.endswith("NHWC") else "Identity"
    mean = "ReduceMean<axes=[2,3], keepdims=0>"
    body = f"f = Cast<to=1>(x) p = {pixels}(f) c = Conv(p, w) y = {mean}(c)"
    made = tiny(body, f"{declared} x", "float[N,4] y", w=noise(4, 3, 3, 3))
    explainer = Explainer(made, preprocess=STRETCHED | settings)
    options = {"samples": 20} if method == "rise" else {}
    x = explainer.samples([noise_picture(8, 8)])[0]
    found = exported(explainer, method, **options)(x, [1])["values"]
    expected = explainer.attribute(x, method, 1, **options).values
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_an_output_that_declares_another_rank_than_it_has(exported: Export) -> None:
    """ONNX Runtime runs the model, and so does the file."""
    declared = tiny(
        "r = Relu(x) y = ReduceMean<axes=[2,3], keepdims=0>(r)",
        "float[N,3,8,8] x",
        "float[N,3,8,8] y",
    )
    explainer, x = Explainer(declared, preprocess=STRETCHED), noise(1, 3, 8, 8)
    found = exported(explainer, "occlusion")(x, [1])
    assert_allclose(found["y"], np.maximum(x, 0).mean(axis=(2, 3)), rtol=1e-5)
    expected = explainer.attribute(x, "occlusion", 1).values
    assert_allclose(found["values"], expected, atol=1e-6)


def test_a_volume(exported: Export) -> None:
    made = tiny(
        "c = Conv<strides=[2,2,2]>(x, w) r = Relu(c) y = ReduceMean<axes=[2,3,4], keepdims=0>(r)",
        "float[N,1,6,8,10] x",
        "float[N,2] y",
        w=noise(2, 1, 2, 2, 2),
    )
    explainer, x = Explainer(made), noise(2, 1, 6, 8, 10)
    for method in ("gradcam", "gradient"):
        found = exported(explainer, method)(x, [0, 1])
        expected = explainer.attribute(x, method, [0, 1]).values
        assert_allclose(found["values"], expected, rtol=1e-5, atol=1e-9)
        assert found["heatmap"].shape == (2, 6, 8, 10)
        shown = explainer.explain(x[1:], method, 1).heatmap
        assert_allclose(found["heatmap"][1], shown, atol=1e-5)


@pytest.mark.parametrize("taken", ["values", "heatmap", "status", "explained", "target"])
@pytest.mark.parametrize("where", ["weight", "subgraph"])
def test_names_of_weights_and_of_tensors_in_subgraphs(
    exported: Export, taken: str, where: str
) -> None:
    """A file has another name for what the model has anywhere."""
    if where == "weight":
        made = tiny(
            f"s = Mul(x, {taken}) y = ReduceMean<axes=[2,3], keepdims=0>(s)",
            "float[N,3,8,8] x",
            "float[N,3] y",
            **{taken: np.array(2, np.float32)},
        )
    else:
        inner = f"g () => (float[N,3,8,8] {taken}) {{ {taken} = Add(x, x) }}"
        made = tiny(
            f"""s = If(yes) <then_branch = {inner}, else_branch = {inner.replace("Add", "Mul")}>
            y = ReduceMean<axes=[2,3], keepdims=0>(s)""",
            "float[N,3,8,8] x",
            "float[N,3] y",
            yes=np.array(True),
        )
    run = exported(Explainer(made, preprocess=STRETCHED), "gradient")
    other = f"onnxplain_{taken}"
    given = {other: np.array([1])} if taken == "target" else {"target": np.array([1])}
    found = run(noise(1, 3, 8, 8), **given)
    assert (other in found) == (taken != "target")
    values = found.get("onnxplain_values", found.get("values"))
    assert_allclose(values[0, 1], 2 / 64)


@pytest.mark.parametrize("frame", [{}, {"with_preprocessing": True}])
def test_outputs_that_are_the_same_for_all_samples(tmp_path: Path, frame: dict[str, bool]) -> None:
    made = tiny(
        "y = ReduceMean<axes=[2,3], keepdims=0>(x) k = Identity(seven) t = Transpose(y)",
        "float[N,3,8,8] x",
        "float[N,3] y, float[7] k, float[3,N] t",
        seven=np.arange(7, dtype=np.float32),
    )
    explainer = Explainer(made, preprocess=STRETCHED)
    path = onnxplain.export(explainer, tmp_path / "f.onnx", "gradient", **frame)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in session.get_outputs()}
    assert shapes["k"] == [7]
    assert shapes["t"][0] == 3
    (found,) = verify(path, explainer, [noise_picture(8, 8)])
    assert found.largest < 1e-5


def test_an_input_called_picture(tmp_path: Path) -> None:
    made = tiny(
        "y = ReduceMean<axes=[2,3], keepdims=0>(picture)",
        "float[N,3,8,8] picture",
        "float[N,3] y",
    )
    explainer = Explainer(made, preprocess=STRETCHED)
    for frame in ({}, {"with_overlay": True}):
        path = onnxplain.export(explainer, tmp_path / "f.onnx", "input_x_gradient", **frame)
        (found,) = verify(path, explainer, [noise_picture(8, 8)])
        assert found.largest < 1e-5


def test_metadata_of_the_model_is_kept_and_ours_is_new(tmp_path: Path) -> None:
    made = tiny("y = ReduceMean<axes=[2,3], keepdims=0>(x)", "float[N,3,8,8] x", "float[N,3] y")
    for key in ("author", "onnxplain.version"):
        made.metadata_props.add(key=key, value="mine")
    explainer = Explainer(made, preprocess=STRETCHED)
    path = onnxplain.export(explainer, tmp_path / "f.onnx", "gradient")
    entries = [(one.key, one.value) for one in onnx.load(path).metadata_props]
    assert len({key for key, _ in entries}) == len(entries)
    assert ("author", "mine") in entries
    assert ("onnxplain.version", "mine") not in entries


@pytest.mark.parametrize(
    "target", ["top1@3,4", "top1-top2@all", "2@predicted", "dog", "not:dog", "2"]
)
def test_places_that_each_picture_decides_are_not_fixed(exported: Export, target: str) -> None:
    """Whatever the model finds in noise."""
    with pytest.raises(TargetError, match="cannot be fixed in a file"):
        exported(segmenter(), "gradient", target=target)


@pytest.mark.parametrize("target", [Class(9), Mask(np.ones(4, np.float32))])
def test_objects_that_do_not_fit_are_refused(exported: Export, target: Any) -> None:
    with pytest.raises(TargetError):
        exported(means(), "gradient", target=target)


def model_in_files(folder: Path) -> Path:
    """A model whose weights are in the file that another export would write."""
    made = tiny(
        "c = Conv(x, w) y = ReduceMean<axes=[2,3], keepdims=0>(c)",
        "float[N,3,8,8] x",
        "float[N,40] y",
        w=noise(40, 3, 3, 3),
    )
    path = folder / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="f.onnx.data", size_threshold=100)
    return path


@pytest.mark.parametrize(
    ("name", "external"), [("model.onnx", False), ("f.onnx.data", False), ("f.onnx", True)]
)
def test_no_file_of_the_model_is_replaced(tmp_path: Path, name: str, external: bool) -> None:
    path = model_in_files(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(OptionError, match="belongs to the model itself"):
        onnxplain.export(path, tmp_path / name, "gradient", external_data=external)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_or_a_pipe_is_no_place_for_a_file(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "pipe", "is no regular file")):
        with pytest.raises(OptionError, match=words):
            onnxplain.export(means(), path, "gradient")


def test_verify_sees_what_is_no_number(tmp_path: Path) -> None:
    """NaN in the file alone is a difference; NaN in both is none."""
    made = tiny(
        "y = ReduceMean<axes=[2,3], keepdims=0>(x) n = Log(y)",
        "float[N,3,8,8] x",
        "float[N,3] y, float[N,3] n",
    )
    explainer = Explainer(made, preprocess=STRETCHED | {"mean": 300}, output="y")
    explainer = Explainer(made, preprocess=STRETCHED | {"mean": 300})
    path = onnxplain.export(explainer, tmp_path / "f.onnx", "gradient", target="1")
    (same,) = verify(path, explainer, [noise_picture(8, 8)])
    assert np.isnan(explainer.predict(explainer.samples([noise_picture(8, 8)])[0])["n"]).all()
    assert same.outputs == 0
    changed = onnx.load(path)
    for node in changed.graph.node:
        if node.op_type == "Log":
            node.op_type = "Abs"
    onnx.save(changed, path)
    (other,) = verify(path, explainer, [noise_picture(8, 8)])
    assert other.outputs == np.inf


def test_verify_a_fixed_batch(tmp_path: Path) -> None:
    made = tiny("y = ReduceMean<axes=[2,3], keepdims=0>(x)", "float[4,3,8,8] x", "float[4,3] y")
    explainer = Explainer(made, preprocess=STRETCHED)
    path = onnxplain.export(explainer, tmp_path / "f.onnx", "input_x_gradient")
    (found,) = verify(path, explainer, [noise_picture(8, 8)])
    assert found.largest < 1e-5


def test_a_large_array_is_in_the_file_once_and_asked_for_again(tmp_path: Path) -> None:
    explainer, baseline = means(), noise(1, 3, 8, 8)
    path = onnxplain.export(
        explainer, tmp_path / "f.onnx", "integrated_gradients", baseline=baseline, steps=4
    )
    options = {one.key: one.value for one in onnx.load(path).metadata_props}["onnxplain.options"]
    assert json.loads(options)["baseline"]["shape"] == [1, 3, 8, 8]
    with pytest.raises(OptionError, match="give baseline again"):
        next(verify(path, explainer, [noise_picture(8, 8)]))
    (found,) = verify(path, explainer, [noise_picture(8, 8)], baseline=baseline)
    assert found.largest < 1e-5


def test_verify_wants_the_settings_of_the_file(tmp_path: Path) -> None:
    made = tiny(
        "y = ReduceMean<axes=[2,3], keepdims=0>(x) z = Neg(y)",
        "float[N,3,H,W] x",
        "float[N,3] y, float[N,3] z",
    )
    large = Explainer(made, preprocess=STRETCHED | {"size": 10})
    path = onnxplain.export(large, tmp_path / "f.onnx", "gradient")
    with pytest.raises(ModelError, match="takes samples of size"):
        next(verify(path, Explainer(made, preprocess=STRETCHED), [noise_picture(8, 8)]))
    with pytest.raises(ModelError, match="give the same --output"):
        next(verify(path, large.with_output("z"), [noise_picture(8, 8)]))


def test_a_file_is_not_explained_again(tmp_path: Path) -> None:
    path = onnxplain.export(means(), tmp_path / "f.onnx", "gradient")
    with pytest.raises(ModelError, match="explains already: run it with ONNX Runtime"):
        Explainer(path)


def test_weights_of_four_bits(tmp_path: Path) -> None:
    """Stored in fields of 32 bits, as some tools do, they are packed in the file of the weights."""
    packed = onnx.helper.make_tensor("w", onnx.TensorProto.INT4, (64, 64), [1, -2] * 2048)
    packed.ClearField("raw_data")
    made = tiny(
        "f = Flatten(x) d = DequantizeLinear(w, scale) m = MatMul(f, d) y = Identity(m)",
        "float[N,1,8,8] x",
        "float[N,64] y",
        opset=21,
        ir=10,
        scale=np.array(0.5, np.float32),
    )
    made.graph.initializer.append(packed)
    explainer = Explainer(made, preprocess=STRETCHED)
    path = onnxplain.export(explainer, tmp_path / "f.onnx", "gradient", external_data=True)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = noise(1, 1, 8, 8)
    y, *_ = session.run(None, {"x": x, "target": np.array([0])})
    weights = np.array([1, -2] * 2048).reshape(64, 64) * 0.5
    assert_allclose(y, x.reshape(1, 64) @ weights, rtol=1e-4, atol=1e-4)
    assert_array_equal(y.shape, (1, 64))
