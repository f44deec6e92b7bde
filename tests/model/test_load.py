"""Where a model may come from, and what is refused before ONNX Runtime sees it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import set_external_data
from tiny import Array, noise, tiny

from onnxplain import Explainer
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.model import external
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.session import Session
from onnxplain.transforms.extract import with_outputs

ROW = "float[N,400] x"
W = np.arange(400, dtype=np.float32)
X = noise(2, 400)

BRANCH = """y = If(true) <then_branch = t () => (float[N,400] a) {{ {weight} a = Add(x, w) }},
                         else_branch = e () => (float[N,400] b) {{ b = Identity(x) }}>"""
CONSTANT = "w = Constant<value = float[1] {0}>()"


def answer(model: Model) -> Array:
    return Session(with_outputs(model, ["y"]), Backend()).run({"x": X})[0]


def weight_of(model: ModelProto) -> TensorProto:
    return next(tensor for tensor in external.weights(model) if tensor.name == "w")


def make_external(model: ModelProto, folder: Path, location: str) -> ModelProto:
    """The model with its weight in a file."""
    weight = weight_of(model)
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    (folder / location).write_bytes(weight.raw_data)
    set_external_data(weight, location, 0, len(weight.raw_data))
    weight.ClearField("raw_data")
    return model


def plain() -> ModelProto:
    return tiny("y = Add(x, w)", ROW, w=W)


def in_a_constant(nodes: str) -> ModelProto:
    """A model whose weight is the value of a Constant node."""
    model = tiny(nodes, ROW, **({"true": np.array(True)} if "true" in nodes else {}))
    (placeholder,) = [t for t in external.weights(model) if t.dims == [1]]
    placeholder.CopyFrom(onnx.numpy_helper.from_array(W, "w"))
    return model


def in_a_branch() -> ModelProto:
    model = tiny(BRANCH.format(weight=""), ROW, true=np.array(True))
    branch = model.graph.node[0].attribute[0].g
    branch.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    return model


WEIGHTS = {
    "initializer": plain,
    "Constant": lambda: in_a_constant(CONSTANT + " y = Add(x, w)"),
    "initializer of a branch": in_a_branch,
    "Constant in a branch": lambda: in_a_constant(BRANCH.format(weight=CONSTANT)),
}


def test_a_path_bytes_and_a_proto_are_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(plain(), path)
    data = path.read_bytes()
    for source in (path, str(path), data, plain()):
        np.testing.assert_array_equal(answer(load(source)), X + W)
    expected = hashlib.sha256(data).hexdigest()
    assert load(path).sha256 == load(data).sha256 == expected
    assert load(path).path == path
    assert load(data).path is None


def test_a_proto_is_not_changed() -> None:
    model = tiny("c = Constant<value_ints=[0,-1]>()  y = Reshape(x, c)", ROW + ", float[1] u",
                 opset=13, ir=3, u=np.ones(1, np.float32))  # fmt: skip
    before = model.SerializeToString()
    load(model)
    assert model.SerializeToString() == before


def test_the_hash_of_a_proto_tells_models_apart() -> None:
    function = """<domain: "mine", opset_import: ["": 17]> f (a) => (b) {{ b = {}(a) }}"""
    models = [
        plain(),
        tiny("y = Add(x, w)", ROW, w=W + 1),
        tiny("y = Sub(x, w)", ROW, w=W),
        tiny("y = Add(x, w)", ROW, w=W, opset=18),
        *(
            tiny("y = mine.f(x)", ROW, domains=["mine"], functions=function.format(op))
            for op in ("Relu", "Neg")
        ),
    ]
    hashes = [load(model).sha256 for model in models]
    assert len(set(hashes)) == len(models)
    assert load(plain()).sha256 == hashes[0]


@pytest.mark.parametrize("where", WEIGHTS)
@pytest.mark.parametrize("location", ["w.bin", "deep/er/w.bin"])
def test_external_weights(where: str, location: str, tmp_path: Path) -> None:
    model = make_external(WEIGHTS[where](), tmp_path, location)
    onnx.save(model, tmp_path / "m.onnx")
    np.testing.assert_array_equal(answer(load(tmp_path / "m.onnx")), X + W)


def test_external_weights_from_another_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(make_external(plain(), tmp_path, "w.bin"), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    model = load("m.onnx")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(answer(model), X + W)


def test_a_download_cache_of_symbolic_links(tmp_path: Path) -> None:
    """Hugging Face keeps files under their hashes, and a folder of links to them."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx.save(make_external(plain(), blobs, "m.onnx_data"), blobs / "1234")
    (blobs / "m.onnx_data").rename(blobs / "5678")
    (snapshot / "m.onnx").symlink_to("../../blobs/1234")
    (snapshot / "m.onnx_data").symlink_to("../../blobs/5678")
    np.testing.assert_array_equal(answer(load(snapshot / "m.onnx")), X + W)


def test_a_link_to_a_model_with_weights_beside_it(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    onnx.save(make_external(plain(), tmp_path / "models", "w.bin"), tmp_path / "models/m.onnx")
    (tmp_path / "m.onnx").symlink_to("models/m.onnx")
    np.testing.assert_array_equal(answer(load(tmp_path / "m.onnx")), X + W)


HOSTILE = {
    "missing": ("location", "other.bin", "missing"),
    "above the folder": ("location", "../secret.bin", "outside the model's folder"),
    "absolute": ("location", "/etc/hostname", "outside the model's folder"),
    "a link out of the folder": ("location", "link.bin", "outside the model's folder"),
    "a folder": ("location", "sub", "missing"),
    "no location": ("location", "", "missing"),
    "a NUL": ("location", "w.bin\0", "is invalid"),
    "a long name": ("location", "w" * 5000, "is invalid"),
    "a loop of links": ("location", "loop.bin", "is invalid|are missing"),
    "too long": ("length", "1601", "ends at byte 1,601 of 1,600"),
    "behind the end": ("offset", "1", "ends at byte 1,601 of 1,600"),
    "negative": ("offset", "-1", "is invalid"),
    "no number": ("length", "many", "is invalid"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_external_data_that_is_not_what_it_should_be(name: str, tmp_path: Path) -> None:
    key, value, message = HOSTILE[name]
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "loop.bin").symlink_to("loop.bin")
    model = make_external(plain(), folder, "w.bin")
    for entry in weight_of(model).external_data:
        if entry.key == key:
            entry.value = value
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=message):
        load(folder / "m.onnx")


def test_small_external_weights_are_read_because_shapes_depend_on_them(tmp_path: Path) -> None:
    """ONNX Runtime itself refuses axes that are external."""
    model = tiny("s = ReduceSum<keepdims=0>(x, w)  y = Relu(s)", ROW, "float[N] y", w=np.array([1]))
    path = tmp_path / "m.onnx"
    onnx.save(make_external(model, tmp_path, "w.bin"), path)
    np.testing.assert_allclose(answer(load(path)), np.maximum(X.sum(1), 0), rtol=1e-4, atol=1e-4)
    (tmp_path / "w.bin").write_bytes(bytes(12))
    weight_of(model).external_data[2].value = "12"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="needs 8 bytes and has 12"):
        load(path)


def test_an_external_file_with_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    model = make_external(plain(), tmp_path, "weights.bin")
    content = model.SerializeToString().replace(b"weights.bin", b"\xffeights.bin")
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="a name that is not UTF-8"):
        load(tmp_path / "m.onnx")


@pytest.mark.filterwarnings("error")
def test_an_unknown_key_of_external_data_prints_no_warning(tmp_path: Path) -> None:
    model = make_external(plain(), tmp_path, "w.bin")
    weight_of(model).external_data.add(key="color", value="red")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(answer(load(tmp_path / "m.onnx")), X + W)


def sparse(folder: Path, location: str, constant: bool) -> ModelProto:
    """Adds a sparse weight, 1 2 3 at the places 0 7 399, whose values are external."""
    values = helper.make_tensor("w", TensorProto.FLOAT, [3], np.float32([1, 2, 3]).tobytes(), True)
    indices = helper.make_tensor("places", TensorProto.INT64, [3], [0, 7, 399])
    (folder / "w.bin").write_bytes(values.raw_data)
    set_external_data(values, location, 0, 12)
    values.ClearField("raw_data")
    weight = helper.make_sparse_tensor(values, indices, [400])
    model = tiny("y = Add(x, w)", ROW, "float[N,400] y")
    if constant:
        node = helper.make_node("Constant", [], ["w"], sparse_value=weight)
        model.graph.node.insert(0, node)
    else:
        model.graph.sparse_initializer.append(weight)
    return model


@pytest.mark.parametrize("constant", [False, True])
def test_external_sparse_weights_are_those_beside_the_model(
    constant: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime would look for them in the working folder."""
    other = tmp_path / "working"
    other.mkdir()
    (other / "w.bin").write_bytes(np.float32([7, 7, 7]).tobytes())
    (tmp_path / "m.onnx").write_bytes(sparse(tmp_path, "w.bin", constant).SerializeToString())
    monkeypatch.chdir(other)
    expected = X.copy()
    expected[:, [0, 7, 399]] += np.float32([1, 2, 3])
    np.testing.assert_array_equal(answer(load(tmp_path / "m.onnx")), expected)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_external_sparse_weights_outside_are_refused(
    constant: bool, location: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (folder / "m.onnx").write_bytes(sparse(folder, location, constant).SerializeToString())
    with pytest.raises(ModelError, match="outside the model's folder"):
        load(folder / "m.onnx")


def test_external_weights_of_bytes(tmp_path: Path) -> None:
    model = make_external(plain(), tmp_path, "w.bin")
    for source in (model, model.SerializeToString()):
        with pytest.raises(ModelError, match="give the path of the model"):
            load(source)


@pytest.mark.parametrize("where", WEIGHTS)
@pytest.mark.parametrize("raw", [True, False])
def test_a_proto_above_the_limit_spills_its_weights(
    where: str, raw: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "PROTOBUF_LIMIT", 1000)
    model = WEIGHTS[where]()
    if not raw:
        weight = weight_of(model)
        weight.CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [400], W))
        assert weight.float_data
    loaded = load(model)
    assert loaded.folder is not None
    assert len(loaded.proto.SerializeToString()) < 1600
    np.testing.assert_array_equal(answer(loaded), X + W)


def test_a_proto_below_the_limit_does_not() -> None:
    assert load(plain()).folder is None


def test_a_weight_above_2_gb(tmp_path: Path) -> None:
    """The file is sparse: it takes no space on the disk."""
    rows = 600_000_000
    model = tiny("y = Gather(w, x)", "int64[N] x", "float[N] y")
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[rows])
    weight.raw_data = b""
    set_external_data(weight, "w.bin", 0, 4 * rows)
    weight.ClearField("raw_data")
    model.graph.initializer.append(weight)
    onnx.save(model, tmp_path / "m.onnx")
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(4 * rows)
        file.seek(4 * (rows - 1))
        file.write(np.float32(7).tobytes())
    session = Session(with_outputs(load(tmp_path / "m.onnx"), ["y"]), Backend())
    (got,) = session.run({"x": np.array([0, rows - 1])})
    np.testing.assert_array_equal(got, [0, 7])


FILES = {
    "nothing": (b"", "is empty"),
    "a zip": (b"PK\x03\x04" + bytes(99), "zip archive"),
    "HDF5": (b"\x89HDF\r\n" + bytes(99), "HDF5"),
    "TensorFlow Lite": (bytes(4) + b"TFL3" + bytes(99), "TensorFlow Lite"),
    "ORT format": (bytes(4) + b"ORTM" + bytes(99), "ORT-format"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "text": (b"hello, world", "not an ONNX model"),
    "an empty model": (ModelProto(ir_version=8).SerializeToString(), "no graph"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_model(name: str, tmp_path: Path) -> None:
    data, message = FILES[name]
    (tmp_path / "m.onnx").write_bytes(data)
    for source in (data, tmp_path / "m.onnx"):
        with pytest.raises(ModelError, match=message):
            load(source)


def test_a_truncated_file() -> None:
    data = tiny("y = Add(x, w)", ROW, w=noise(400)).SerializeToString()
    with pytest.raises(ModelError, match="truncated"):
        load(data[: len(data) // 2])


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(ModelError, match="no file"):
        load(tmp_path / "none.onnx")


def test_a_weight_whose_shape_promises_more_than_is_stored_does_not_count_as_large() -> None:
    proto = tiny("y = Add(x, w)", "float[N,1024] x", w=np.ones(1024, np.float32))
    proto.graph.initializer[0].dims[:] = [2**40]
    assert external.spill_large_weights(proto) is None
    with pytest.raises(OnnxplainError):
        Explainer(proto).attribute(np.ones((1, 1024), np.float32), "occlusion")


def test_bytes_of_a_weight_of_a_type_that_does_not_exist() -> None:
    assert external.byte_count(TensorProto(data_type=99, dims=[2])) == 0
    assert external.byte_count(TensorProto(data_type=TensorProto.FLOAT16, dims=[2, 3])) == 12
