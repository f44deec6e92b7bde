"""Extracting a part changes the outputs of a model, and nothing else."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, StringStringEntryProto, TensorAnnotation, TensorProto, helper
from tiny import Array, noise, run, tiny

from onnxplain.errors import ModelError
from onnxplain.model.load import load
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.session import Session
from onnxplain.tensors import TensorSpec
from onnxplain.transforms.extract import answering, extract, head, side_inputs, with_outputs
from onnxplain.transforms.masks import Keep, box_feeds, masked

CPU = Backend()
ROW = "float[N,4] x"
X = noise(2, 4)
W = np.array([1, 2, 3, 4], np.float32)

BODIES = {
    "If, both branches read outer tensors": """
        r = Relu(x)  m = ReduceMax<keepdims=0>(x)  c = Greater(m, zero)
        y = If(c) <then_branch = t () => (float[N,4] a) { a = Add(r, w) },
                   else_branch = e () => (float[N,4] b) { b = Sub(r, w) }>""",
    "Loop that reads neither its counter nor its condition": """
        r = Relu(x)
        y = Loop(three, true, x) <body = l (int64 i, bool c, float[N,4] s)
              => (bool d, float[N,4] t) { d = Identity(true)  q = Add(s, r)  t = Add(q, w) }>""",
    "If in a Loop, reading two levels out": """
        r = Relu(x)
        y = Loop(three, true, x) <body = l (int64 i, bool c, float[N,4] s)
              => (bool d, float[N,4] t) {
                d = Identity(c)  late = Greater(i, one)
                t = If(late) <then_branch = t () => (float[N,4] a) { k = Add(s, r) a = Add(k, w) },
                              else_branch = e () => (float[N,4] b) { b = Mul(s, w) }> }>""",
    "an optional and a sequence": """
        o = Optional(x)  e = OptionalGetElement(o)  q = SequenceConstruct(x, e)
        l = ConcatFromSequence<axis=1>(q)  f, y = Split<axis=1>(l)""",
}
SCALARS = {
    "zero": np.array(0, np.float32),
    "three": np.array(3),
    "one": np.array(1),
    "true": np.array(True),
    "w": W,
}


def body(name: str) -> ModelProto:
    used = {key: value for key, value in SCALARS.items() if key in BODIES[name]}
    return tiny(BODIES[name], ROW, **used)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("sign", [1, -1])
def test_subgraphs_keep_what_they_read(name: str, sign: int) -> None:
    x = sign * np.abs(X)
    (expected,) = run(body(name), {"x": x})
    (got,) = Session(with_outputs(load(body(name)), ["y"]), CPU).run({"x": x}, ["y"])
    np.testing.assert_array_equal(got, expected)


def test_an_inner_tensor_becomes_the_only_output_with_its_type_and_shape() -> None:
    model = load(tiny("i = ArgMax(x) r = Relu(x) y = Neg(r)", ROW))
    part = answering(model, "r")
    assert part.outputs == (TensorSpec("r", np.dtype(np.float32), ("N", 4)),)
    assert (part.sha256, part.path) == (model.sha256, model.path)
    (got,) = Session(part, CPU).run({"x": X})
    np.testing.assert_array_equal(got, np.maximum(X, 0))
    assert answering(model, "y") is model
    for name in ("R", "x"):
        with pytest.raises(ModelError, match=f"no output or inner tensor '{name}' .*r"):
            answering(model, name)


def test_a_body_that_reads_the_masked_input_reads_the_masked_one() -> None:
    model = load(body("If in a Loop, reading two levels out"))
    x = np.abs(X[:1])
    kept = masked(model, model.inputs[0], (1, 4), Keep((1,)), ["y"])
    feeds = {"onnxplain/" + k: v for k, v in box_feeds(2, {1: (W[:2] - 1, W[:2])}).items()}
    zeros = np.zeros_like(x)
    (got,) = Session(kept, CPU).run({"onnxplain/x": x, "onnxplain/baseline": zeros, **feeds})
    single = np.concatenate([x * [1, 0, 0, 0], x * [0, 1, 0, 0]]).astype(np.float32)
    (expected,) = run(body("If in a Loop, reading two levels out"), {"x": single})
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "dtype",
    "bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz int4 uint4".split(),
)
def test_weights_of_types_that_numpy_lacks_pass_untouched(dtype: str) -> None:
    w = np.array([1, 2, 3, 4]).astype(getattr(ml_dtypes, dtype))
    if dtype == "bfloat16":
        model = tiny("f = Cast<to=1>(w)  y = Add(x, f)", ROW, w=w)
    else:
        scale = np.array(1, np.float32)
        model = tiny(
            "f = DequantizeLinear(w, s)  y = Add(x, f)", ROW, opset=21, ir=10, w=w, s=scale
        )
    part = with_outputs(load(model), ["y"])
    assert part.proto.graph.initializer[0] == model.graph.initializer[0]
    (got,) = Session(part, CPU).run({"x": X})
    np.testing.assert_array_equal(got, X + W)


def documented() -> ModelProto:
    model = tiny("a = Relu(x)  b = Neg(a)  y = Add(b, w)", ROW, ir=10, w=W)
    model.doc_string, model.producer_name, model.domain = "what for", "someone", "org.example"
    model.producer_version, model.model_version = "7", 5
    model.metadata_props.append(StringStringEntryProto(key="names", value="cat"))
    model.graph.doc_string = "how"
    model.graph.metadata_props.append(StringStringEntryProto(key="k", value="v"))
    model.graph.node[0].doc_string = "rectifies"
    model.graph.node[0].metadata_props.append(StringStringEntryProto(key="scope", value="net.0"))
    model.graph.input[0].doc_string = "pixels"
    model.graph.initializer[0].doc_string = "bias"
    note = TensorAnnotation(tensor_name="a")
    note.quant_parameter_tensor_names.append(StringStringEntryProto(key="SCALE_TENSOR", value="w"))
    model.graph.quantization_annotation.append(note)
    return model


def test_documentation_and_annotations_are_kept() -> None:
    model = documented()
    part = with_outputs(load(model), ["y"]).proto
    for name in (
        "doc_string producer_name producer_version domain model_version metadata_props ir_version "
        "opset_import"
    ).split():
        assert getattr(part, name) == getattr(model, name), name
    for name in (
        "doc_string metadata_props node input initializer quantization_annotation name"
    ).split():
        assert getattr(part.graph, name) == getattr(model.graph, name), name


def test_only_what_the_outputs_need_is_kept() -> None:
    model = load(tiny("a = Relu(x)  b = Add(a, v)  c = Mul(z, w)  y = Add(b, c)",
                      ROW + ", float[N,4] z", v=W, w=W))  # fmt: skip
    part = with_outputs(model, ["b", "a"]).proto.graph
    assert [node.output[0] for node in part.node] == ["a", "b"]
    assert [value.name for value in part.input] == ["x"]
    assert [tensor.name for tensor in part.initializer] == ["v"]
    assert [value.name for value in part.output] == ["b", "a"]


def test_stale_shapes_of_inner_tensors_are_dropped() -> None:
    model = documented()
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.INT8, [9, 9, 9]))
    (got,) = Session(with_outputs(load(model), ["y"]), CPU).run({"x": X})
    np.testing.assert_array_equal(got, W - np.maximum(X, 0))


def test_initializers_and_inputs_may_be_asked_for() -> None:
    model = load(tiny("y = Add(x, w)", ROW, w=W))
    names = ["w", "x", "y"]
    got = Session(with_outputs(model, names), CPU).run({"x": X}, names)
    for a, b in zip(got, [W, X, X + W], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("taken", "x start_1 mask mask/mul_0".split())
def test_a_name_of_ours_in_the_model_is_an_error_not_a_mixture(taken: str) -> None:
    model = load(renamed("onnxplain/" + taken))
    with pytest.raises(ModelError, match=f"called 'onnxplain/{taken}'"):
        masked(model, model.inputs[0], (1, 4), Keep((1,)), ["y"])


def renamed(name: str) -> ModelProto:
    model = tiny("a = Relu(x)  y = Neg(a)", ROW)
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = name
    return model


def test_other_names_under_our_prefix_do_no_harm() -> None:
    model = load(renamed("onnxplain/gather_0"))
    kept = masked(model, model.inputs[0], (1, 4), Keep((1,)), ["y"])
    feeds = {"x": X[:1], "baseline": X[:1], **box_feeds(2, {1: (np.zeros(1), np.ones(1))})}
    (got,) = Session(kept, CPU).run({"onnxplain/" + k: v for k, v in feeds.items()})
    np.testing.assert_array_equal(got, -np.maximum(X[:1], 0))


HEADS = {
    "in a residual block": ("r", "r = Relu(x)  e = Exp(r)  y = Add(e, x)", ["x"]),
    "the shortcut from before": ("b", "a = Relu(x)  b = Exp(a)  y = Add(b, a)", ["a"]),
    "one branch of two": ("a", "a = Relu(x)  b = Neg(x)  y = Concat<axis=1>(a, b)", ["b"]),
    "all that is dense": (
        "b",
        "a = Relu(x) b = Exp(a) c = Concat<axis=1>(a, b) d = Neg(c) y = Concat<axis=1>(c, d, x)",
        ["a", "x"],
    ),
    "another input": ("a", "a = Relu(x)  b = Mul(a, z)  y = Add(b, w)", ["z"]),
    "a captured tensor": (
        "r",
        """r = Relu(x)  n = Neg(x)
        y = If(true) <then_branch = t () => (float[N,4] p) { p = Add(r, n) },
                      else_branch = e () => (float[N,4] q) { q = Sub(r, n) }>""",
        ["n"],
    ),
    "sizes from before": (
        "a",
        "s = Shape(x)  a = Relu(x)  f = Flatten<axis=0>(a)  y = Reshape(f, s)",
        ["s"],
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_and_its_side_inputs_give_what_the_whole_gives(name: str) -> None:
    layer, nodes, sides = HEADS[name]
    constants = {k: v for k, v in {"w": W, "true": np.array(True)}.items() if k in nodes}
    proto = tiny(nodes, ROW + (", float[N,4] z" if "z)" in nodes else ""), **constants)
    model = load(proto)
    assert side_inputs(model, layer, ["y"]) == sides
    feeds: dict[str, Array] = {"x": X} | ({"z": 2 * X} if "z)" in nodes else {})
    values = dict(zip([layer, *sides], exposed(proto, feeds, [layer, *sides]), strict=True))
    specs = {
        key: TensorSpec(key, value.dtype, (None, *value.shape[1:])) for key, value in values.items()
    }
    (got,) = Session(head(model, specs, ["y"]), CPU).run(values)
    np.testing.assert_array_equal(got, run(proto, feeds)[0])


def exposed(proto: ModelProto, feeds: dict[str, Array], names: list[str]) -> list[Array]:
    """Values of tensors by ONNX's own extractor of parts, with the same inputs."""
    made = [name for name in names if name not in feeds]
    model = ModelProto()
    model.CopyFrom(proto)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in made)
    values = dict(zip(made, run(model, feeds), strict=True))
    return [values[name] if name in values else feeds[name] for name in names]


def test_nodes_before_the_model_come_first() -> None:
    model = load(tiny("y = Neg(a)  a = Relu(x)", ROW))
    before = helper.make_graph(
        [helper.make_node("Exp", ["new"], ["x"])],
        "before",
        [helper.make_tensor_value_info("new", TensorProto.FLOAT, ["N", 4])],
        [],
    )
    part = extract(model.proto, ["y"], before.input, before)
    (got,) = run(part, {"new": X})
    np.testing.assert_allclose(got, -np.exp(X), rtol=1e-6)
