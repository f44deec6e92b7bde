"""Every rule on the smallest graph that needs it, proved by running it.

Three different samples in one batch must give what three single runs of the untouched model give,
and must not where the dimension is only renamed: otherwise the case would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, ValueInfoProto, numpy_helper, parser

from onnxplain.graph.rebatch import has_fixed_batch, make_batch_dynamic
from onnxplain.tensors import Array

BAKED = {
    "reshape to (1, -1)": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[2] s = {1,-1}> { y = Reshape(x, s) }""",
    "reshape that flattens": """<ir_version: 8, opset_import: ["": 21]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[2] s = {1,6}> { y = Reshape<allowzero=1>(x, s) }""",
    "heads merged into the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,4] x) => (float[1,3,4] y)
        <int64[4] split = {1,3,2,2}, int64[3] heads = {2,3,2}, int64[4] four = {1,2,3,2},
         int64[3] merge = {1,3,4}>
        { a = Reshape(x, split)
          b = Transpose<perm=[0,2,1,3]>(a)
          q = Reshape(b, heads)
          k = Transpose<perm=[0,2,1]>(q)
          w = MatMul(q, k)
          v = MatMul(w, q)
          c = Reshape(v, four)
          d = Transpose<perm=[0,2,1,3]>(c)
          y = Reshape(d, merge) }""",
    "tokens before the batch, then merged with it": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,4] x) => (float[1,3,4] y)
        <int64[3] heads = {3,2,2}, int64[4] four = {1,2,3,2}, int64[2] rows = {3,4},
         int64[3] tokens = {3,1,4}, float[4,4] w = {1,2,3,4,0,1,-2,1,3,1,0,2,-1,1,1,2}>
        { t = Transpose<perm=[1,0,2]>(x)
          q = Reshape(t, heads)
          r = Transpose<perm=[1,0,2]>(q)
          k = Transpose<perm=[0,2,1]>(r)
          p = MatMul(r, k)
          v = MatMul(p, r)
          u = Reshape(v, four)
          l = Transpose<perm=[2,0,1,3]>(u)
          f = Reshape(l, rows)
          h = Gemm(f, w)
          o = Reshape(h, tokens)
          y = Transpose<perm=[1,0,2]>(o) }""",
    "windows merged into the batch, and their mask": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,4,4,1] x) => (float[1,4,4,1] y)
        <int64[6] cut = {1,2,2,2,2,1}, int64[3] windows = {4,4,1}, int64[3] whole = {1,4,4},
         float[4,4,1] mask = {1,2,3,4,5,6,7,8,1,3,5,7,2,4,6,8}, int64[4] picture = {1,4,4,1}>
        { a = Reshape(x, cut)
          b = Transpose<perm=[0,1,3,2,4,5]>(a)
          w = Reshape(b, windows)
          m = Mul(w, mask)
          s = Softmax<axis=1>(m)
          c = Reshape(s, cut)
          d = Transpose<perm=[0,1,3,2,4,5]>(c)
          y = Reshape(d, picture) }""",
    "a constant stack of matrices beside the windows": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,2] x) => (float[2,1,2] y)
        <int64[3] windows = {2,1,2}, float[2,2,2] w = {1,2,3,4,5,6,7,9}>
        { a = Reshape(x, windows) y = MatMul(a, w) }""",
    "class token": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,4,2] y)
        <float[1,1,2] token = {7,8}> { y = Concat<axis=1>(token, x) }""",
    "class token expanded to a batch of 1": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,4,2] y)
        <float[1,1,2] token = {7,8}, int64[3] s = {1,1,2}>
        { t = Expand(token, s) y = Concat<axis=-2>(x, t) }""",
    "expand that states the merged batch": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,2,3] x) => (float[2,5,3] y)
        <int64[3] windows = {2,1,3}, int64[3] s = {2,5,3}>
        { a = Reshape(x, windows) y = Expand(a, s) }""",
    "resize to sizes": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,1,2,2] x) => (float[1,1,4,4] y)
        <int64[4] sizes = {1,1,4,4}> { y = Resize<mode="linear">(x, , , sizes) }""",
    "slice of the whole batch, as inputs": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,4] x) => (float[1,2] y)
        <int32[2] starts = {0,1}, int32[2] ends = {1,3}, int32[2] axes = {0,1}>
        { y = Slice(x, starts, ends, axes) }""",
    "slice of the whole batch, as attributes": """<ir_version: 3, opset_import: ["": 7]>
        g (float[1,4] x) => (float[1,2] y)
        { y = Slice<starts=[0,1], ends=[1,3]>(x) }""",
    "flatten from the first axis": """<ir_version: 8, opset_import: ["": 13]>
        g (float[1,2,3] x) => (float[1,6] y) { y = Flatten<axis=0>(x) }""",
    "strided view of the flat tensor": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,3,2] y)
        <int64[1] flat = {-1}, int64[1,3,2] view = {0,3,1,4,2,-1}>
        { a = Reshape(x, flat) y = Gather(a, view) }""",
    "first of the batch, kept as a batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2] x) => (float[1,2] y) <int64[1] i = {0}> { y = Gather<axis=0>(x, i) }""",
    "gather elements": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,4] x) => (float[1,2] y)
        <int64[1,2] i = {3,1}> { y = GatherElements<axis=1>(x, i) }""",
    "sampling grid": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,1,3,3] x) => (float[1,1,1,2] y)
        <float[1,1,2,2] grid = {-0.5,0.2,0.7,-0.1}> { y = GridSample(x, grid) }""",
    "initial state": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,2] x) => (float[1,3,1,1] y)
        <float[1,1,2] w = {1,-1}, float[1,1,1] r = {0.5}, float[1,1,1] h = {0.3}>
        { t = Transpose<perm=[1,0,2]>(x) n = RNN<hidden_size=1>(t, w, r, , , h)
          y = Transpose<perm=[2,0,1,3]>(n) }""",
    "two inputs": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x, float[1,6] z) => (float[1,6] y)
        <int64[2] s = {1,6}> { a = Reshape(x, s) y = Add(a, z) }""",
    "constants in nodes, weights among the inputs": """<ir_version: 3, opset_import: ["": 7]>
        g (float[1,2,3] x, float[6,2] w) => (float[1,2] y)
        <float[6,2] w = {1,2,3,4,5,6,1,3,5,2,4,6}>
        { s = Constant<value = int64[2] {1,6}>() a = Reshape(x, s) y = MatMul(a, w) }""",
    "shape computed from constants": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[1] one = {1}, int64 two = {2}, int64 three = {3}, int64[1] zero = {0}>
        { p = Mul(two, three)
          u = Unsqueeze(p, zero)
          s = Concat<axis=0>(one, u)
          y = Reshape(x, s) }""",
    "declared dynamic": """<ir_version: 8, opset_import: ["": 13]>
        g (float[n,2,3] x) => (float[n,6] y) <int64[2] s = {1,6}> { y = Reshape(x, s) }""",
    "pictures of any size, one size left to infer": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,h,w] x) => (float[1,3,cells] y)
        <int64[3] s = {1,3,-1}> { y = Reshape<allowzero=1>(x, s) }""",
    "pictures of any size, shape computed": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,h,w] x) => (float[1,h,w,3] y)
        <int64[1] one = {1}, int64[1] three = {3}, int64[4] picture = {1,0,0,0}>
        { t = Transpose<perm=[0,2,3,1]>(x)
          d = Shape<start=1, end=3>(t)
          s = Concat<axis=0>(one, d, three)
          n = Neg(t)
          y = Reshape(n, s) }""",
    "pictures of any size, resized to each other": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,h,w] x) => (float[1,3,h,w] y)
        <int64[2] front = {1,3}>
        { d = Shape<start=2>(x)
          sizes = Concat<axis=0>(front, d)
          p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x)
          y = Resize<mode="nearest">(p, , , sizes) }""",
    "inside and behind a branch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,6] y)
        <bool c = {1}, int64[2] s = {1,6}>
        { h = If(c) <then_branch = a () => (float[1,2,3] p) { p = Relu(x) },
                     else_branch = b () => (float[1,2,3] q) { q = Neg(x) }>
          y = Reshape(h, s) }""",
    "operators that only ONNX Runtime knows": """
        <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        g (float[1,1,2,2] x) => (float[1,4] y)
        <float[1,1,1,1] w = {2}, int64[2] s = {1,4}>
        { a = com.microsoft.FusedConv<activation="Relu", kernel_shape=[1,1]>(x, w)
          b = com.microsoft.QuickGelu<alpha=1.7>(a)
          y = Reshape(b, s) }""",
}

# Each sample's result depends on a run of its own: no rewrite of one node can help.
HOPELESS = {
    "kernels computed from the picture": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3,3] x) => (float[1,1,3,3] y)
        { k = GlobalAveragePool(x) y = Conv(x, k) }""",
    "first of the batch": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3] x) => (float[3] y) <int64 i = {0}> { y = Gather<axis=0>(x, i) }""",
    "statistics over everything": """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3] x) => (float[1,3] y) { m = ReduceMean<keepdims=1>(x) y = Sub(x, m) }""",
    "an operator of unknown shape": """
        <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[2] s = {1,6}> { a = com.microsoft.Trilu(x) y = Reshape(a, s) }""",
}


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


def test_graph_that_takes_any_batch_is_not_touched() -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,2,3] x) => (float[1,6] y)
        <int64[1] rest = {-1}, float[1,2,3] bias = {1,2,3,4,5,6}>
        { a = Add(x, bias) n = Shape<end=1>(a) s = Concat<axis=0>(n, rest) y = Reshape(a, s) }""")
    rebatched = make_batch_dynamic(model, ["x"])
    assert rebatched.graph.node == model.graph.node
    assert rebatched.graph.initializer == model.graph.initializer


def test_everything_but_the_batch_stays() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17], producer_name: "p", doc_string: "d",
         metadata_props: ["k": "v"]>
        g (float[1,2,3] x) => (float[1,6] y, float[2,2] z)
        <int64[2] s = {1,6}, float[2,2] other = {1,2,3,4}>
        { [first] a = Reshape(x, s) [second] y = Softmax(a) [third] z = Abs(other) }""")
    before = model.SerializeToString()
    rebatched = make_batch_dynamic(model, ["x"])
    assert model.SerializeToString() == before
    assert (rebatched.producer_name, rebatched.doc_string) == ("p", "d")
    assert rebatched.metadata_props == model.metadata_props
    assert [node.name for node in rebatched.graph.node] == ["first", "second", "third"]
    assert [list(node.output) for node in rebatched.graph.node] == [["a"], ["y"], ["z"]]
    assert shapes(rebatched.graph.input) == {"x": ("batch", 2, 3)}
    assert shapes(rebatched.graph.output) == {"y": ("batch", 6), "z": (2, 2)}
    # Nobody reads the old shape any longer, and ONNX Runtime would warn about it.
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
    ("declared", "expected"), [("[1,3,h,w]", 1), ("[8,3]", 8), ("[n,3]", None), ("[]", None)]
)
def test_fixed_batch_is_the_leading_number(declared: str, expected: int | None) -> None:
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float{declared} x) => (y) {{ y = Relu(x) }}'
    )
    assert has_fixed_batch(model, "x") == expected
    assert has_fixed_batch(model, "another") is None


def three_samples(model: ModelProto) -> dict[str, Array]:
    """Three samples for every input that is no initializer."""
    rng = np.random.default_rng(0)
    weights = {tensor.name for tensor in model.graph.initializer}
    return {
        name: rng.normal(size=(3, *(d if isinstance(d, int) else 4 for d in dims[1:]))).astype("f")
        for name, dims in shapes(model.graph.input).items()
        if dims is not None and name not in weights
    }


def split(samples: dict[str, Array]) -> list[dict[str, Array]]:
    return [{name: array[i : i + 1] for name, array in samples.items()} for i in range(3)]


def single_runs(model: ModelProto, samples: dict[str, Array]) -> list[Array]:
    return [run(model, one) for one in split(samples)]


def renamed(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """What people try first."""
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
    """Whether a run on the whole batch gives what the single runs gave."""
    expected = np.concatenate(alone)
    try:
        batch = run(model, samples)
    except Exception:  # the classes of ONNX Runtime's errors have no common base but this
        return False
    return batch.shape == expected.shape and np.allclose(batch, expected, rtol=1e-5, atol=1e-6)


def shapes(values: Iterable[ValueInfoProto]) -> dict[str, tuple[int | str | None, ...] | None]:
    return {
        value.name: tuple(dim.dim_value or dim.dim_param or None for dim in tensor.shape.dim)
        if (tensor := value.type.tensor_type).HasField("shape")
        else None
        for value in values
    }
