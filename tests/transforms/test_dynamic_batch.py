"""Every rule on the smallest graph that needs it, proved by running it.

Three different samples in one batch must give the results of three single runs of the original
model. If the dimension is only renamed, they must not: otherwise the case would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper, parser
from transforms.batch_cases import BAKED, FREE, HOPELESS, OPEN

from onnxplain.analysis.batch_axis import has_fixed_batch
from onnxplain.tensors import Array
from onnxplain.transforms.dynamic_batch import make_batch_dynamic


@pytest.mark.parametrize("text", BAKED.values(), ids=BAKED)
def test_batch_of_three_answers_as_three_single_runs(text: str) -> None:
    model = parser.parse_model(text)
    samples = three_samples(model)
    alone = single_runs(model, samples)
    rebatched = make_batch_dynamic(model, list(samples))
    assert not answers_as(renamed(model, samples), samples, alone)
    assert answers_as(rebatched, samples, alone)
    np.testing.assert_allclose(single_runs(rebatched, samples), alone, rtol=1e-6)


@pytest.mark.parametrize("text", HOPELESS.values(), ids=HOPELESS)
def test_what_is_not_understood_is_left_as_it_was(text: str) -> None:
    model = parser.parse_model(text)
    samples = three_samples(model)
    alone = single_runs(model, samples)
    rebatched = make_batch_dynamic(model, list(samples))
    assert rebatched.graph.node == model.graph.node
    assert not answers_as(rebatched, samples, alone)
    np.testing.assert_allclose(single_runs(rebatched, samples), alone, rtol=1e-6)


@pytest.mark.parametrize("text", FREE.values(), ids=FREE)
def test_graph_that_takes_any_batch_is_not_touched(text: str) -> None:
    model = parser.parse_model(text)
    samples = three_samples(model)
    rebatched = make_batch_dynamic(model, list(samples))
    assert rebatched.graph.node == model.graph.node
    assert rebatched.graph.initializer == model.graph.initializer
    assert answers_as(rebatched, samples, single_runs(model, samples))


def test_everything_but_the_batch_stays() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17], producer_name: "p", doc_string: "d",
         metadata_props: ["k": "v"]>
        g (float[1,2,3] x) => (float[1,6] y, float[2,2] z)
        <int64[2] s = {1,6}, float[2,2] other = {1,2,3,4}>
        { a = Reshape(x, s) y = Softmax(a) z = Abs(other) }""")
    for node, name in zip(model.graph.node, ("first", "second", "third"), strict=True):
        node.name = name
    before = model.SerializeToString()
    rebatched = make_batch_dynamic(model, ["x"])
    assert model.SerializeToString() == before
    assert (rebatched.producer_name, rebatched.doc_string) == ("p", "d")
    assert rebatched.metadata_props == model.metadata_props
    assert [node.name for node in rebatched.graph.node] == ["first", "second", "third"]
    assert [list(node.output) for node in rebatched.graph.node] == [["a"], ["y"], ["z"]]
    assert shapes(rebatched.graph.input) == {"x": ("batch", 2, 3)}
    assert shapes(rebatched.graph.output) == {"y": ("batch", 6), "z": (2, 2)}
    # Nothing reads the old shape now, and ONNX Runtime would warn about it.
    assert [t.name for t in rebatched.graph.initializer] == ["other", "onnxplain/constant_0"]


def test_constant_that_another_node_reads_is_kept() -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (int64[2] y, float[1,6] z)
        <int64[2] s = {1,6}> { z = Reshape(x, s) y = Abs(s) }""")
    rebatched = make_batch_dynamic(model, ["x"])
    assert run(rebatched, three_samples(model)).tolist() == [1, 6]


def test_inner_shapes_are_corrected_where_known_and_dropped_where_not() -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,2,3] y)
        <float[1,2,3] w = {1,2,3,4,5,6}, int64[2] s = {2,3}, int64 i = {0},
         float[1,2,3] constant, float[1,2,3] batched, float[2,3] merged, float[2,3] lost>
        { constant = Neg(w) batched = Add(x, constant)
          merged = Reshape(batched, s) lost = Gather<axis=0>(x, i) y = Relu(x) }""")
    found = shapes(make_batch_dynamic(model, ["x"]).graph.value_info)
    assert found == {
        "constant": (1, 2, 3),
        "batched": ("batch", 2, 3),
        "merged": (None, 3),
        "lost": None,
    }


@pytest.mark.parametrize(
    ("declared", "name"),
    [("1,2", "batch"), ("n,2", "n"), ("1,batch", "batch_0"), ("batch,batch", "batch_0")],
)
def test_batch_is_named_unlike_any_other_dimension(declared: str, name: str) -> None:
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[{declared}] x) => (y) {{ y = Relu(x) }}'
    )
    dims = shapes(make_batch_dynamic(model, ["x"]).graph.input)["x"]
    assert dims is not None
    assert dims[0] == name


def test_external_data_is_neither_read_nor_moved(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)
    model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,40] y)
        <int64[2] s = {1,6}> { a = Reshape(x, s) y = MatMul(a, w) }""")
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    samples = three_samples(model)
    alone = single_runs(model, samples)
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="w", size_threshold=900
    )
    stored = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    (tmp_path / "w").rename(tmp_path / "away")
    rebatched = make_batch_dynamic(stored, ["x"])
    (tmp_path / "away").rename(tmp_path / "w")
    (tmp_path / "rebatched.onnx").write_bytes(rebatched.SerializeToString())
    assert answers_as(str(tmp_path / "rebatched.onnx"), samples, alone)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [([1, 3, "h"], 1), ([8, 3], 8), (["n", 3], None), ([0, 3], None), ([-1, 3], None), ([], None)],
)
def test_fixed_batch_is_the_leading_number(declared: list[int | str], expected: int | None) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, declared)
    model = helper.make_model(helper.make_graph([], "g", [value], []))
    assert has_fixed_batch(model, "x") == expected
    assert has_fixed_batch(model, "another") is None


def three_samples(model: ModelProto) -> dict[str, Array]:
    """Three samples for every input that is not an initializer."""
    rng = np.random.default_rng(0)
    weights = {tensor.name for tensor in model.graph.initializer}
    return {
        name: rng.normal(
            size=(3, *(d if isinstance(d, int) else OPEN[str(d)] for d in dims[1:]))
        ).astype(np.float32)
        for name, dims in shapes(model.graph.input).items()
        if dims is not None and name not in weights
    }


def split(samples: dict[str, Array]) -> list[dict[str, Array]]:
    return [{name: array[i : i + 1] for name, array in samples.items()} for i in range(3)]


def single_runs(model: ModelProto, samples: dict[str, Array]) -> list[Array]:
    return [run(model, one) for one in split(samples)]


def renamed(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """The first thing that people try."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.name in names:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return copy


def run(model: ModelProto | str, feeds: dict[str, Array]) -> Array:
    """The first output."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    source = model if isinstance(model, str) else model.SerializeToString()
    session = ort.InferenceSession(source, options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def answers_as(model: ModelProto | str, samples: dict[str, Array], alone: list[Array]) -> bool:
    """Whether a run on the whole batch gives the results of the single runs."""
    expected = np.concatenate(alone)
    try:
        batch = run(model, samples)
    except Exception:  # the only common base of ONNX Runtime's errors
        return False
    return batch.shape == expected.shape and np.allclose(batch, expected, rtol=1e-5, atol=1e-6)


def shapes(values: Iterable[ValueInfoProto]) -> dict[str, tuple[int | str | None, ...] | None]:
    return {
        value.name: tuple(dim.dim_value or dim.dim_param or None for dim in tensor.shape.dim)
        if (tensor := value.type.tensor_type).HasField("shape")
        else None
        for value in values
    }
