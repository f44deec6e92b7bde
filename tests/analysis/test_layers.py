"""Which tensors have a grid, which axes the grid has, and which layer `auto` means."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import ModelProto
from tiny import PICTURE, noise, run, tiny

from onnxplain.analysis.layers import Layer, auto_layer, grid_layers, tensor_of
from onnxplain.analysis.layout import find_layouts
from onnxplain.analysis.score import find_score
from onnxplain.errors import LayerError
from onnxplain.model.load import load
from onnxplain.model.shapes import infer_shapes

WEIGHTS = {
    "KERNEL": noise(4, 3, 3, 3),
    "POINT": noise(4, 4, 1, 1),
    "PATCH": noise(4, 3, 2, 2),
    "SQUARE": noise(4, 4),
    "CLASSES": noise(4, 2),
    "TOKEN": noise(1, 1, 4),
    "PLACES": noise(1, 17, 4),
    "SCALE": np.ones(1, np.float32),
    "GAIN": noise(4),
    "SHIFT": noise(4),
    "TINY": np.array([1e-6], np.float32),
    "SQUARED": np.array([2], np.float32),
    "INDEX": np.array(0),
    "YES": np.array(True),
    "LAST": np.array([-1]),
    "FIRST": np.array([0]),
    "SECOND": np.array([1]),
    "END": np.array([99]),
    "NCT": np.array([0, 4, 16]),
    "GRID": np.array([0, 4, 4, 4]),
    "WINDOWS": np.array([16, 4, 2, 2]),
    "WHOLE": np.array([1, 4, 8, 8]),
    "FLAT": np.array([17, 4]),
    "BACK": np.array([1, 17, 4]),
    "CELLS": np.array([1, 4, 4, 4]),
    "ROWS": np.array([1, 2]),
    "FEW": np.array([1, 4, 4]),
    "ALLROWS": np.array([16, 4]),
    "FEWROWS": np.array([4, 4]),
    "FEWHEADS": np.array([1, 4, 2, 2]),
    "ALLHEADS": np.array([1, 16, 2, 2]),
    "MIXER": noise(1, 2, 16, 16),
    "FOURS": np.array([4, 4]),
    "SPATIAL": np.array([2, 3]),
    "ONES": np.array([1, 1]),
    "TWOS": np.array([2, 2]),
    "ZEROS": np.array([0, 0]),
    "ENDS": np.array([99, 99]),
}

ONE = "float[1,3,8,8] x"
STEM = "a = Conv<pads=[1,1,1,1]>(x, KERNEL)  b = Relu(a)"
POOL = "q = GlobalAveragePool({})  f = Flatten(q)  y = MatMul(f, CLASSES)"
TOKENS = "a = Conv<strides=[2,2]>(x, PATCH)  r = Reshape(a, NCT)  n = Transpose<perm=[0,2,1]>(r)"
EXTRA = "t = Concat<axis=1>(TOKEN, n)  t0 = Add(t, PLACES)"
ATTENTION = (
    "{o}k = Transpose<perm=[0,2,1]>({i})  {o}w = MatMul({i}, {o}k)  {o}s = Softmax<axis=-1>({o}w)"
    "{o}v = MatMul({o}s, {i})  {o} = Add({i}, {o}v)"
)
MLP = "{o}h = MatMul({i}, SQUARE)  {o}g = Relu({o}h)  {o} = Add({i}, {o}g)"
BLOCK = ATTENTION.format(i="t0", o="t1") + MLP.format(i="t1", o="t2")
# Two heads with two channels each; one uses rows, as exported batch normalizations do.
HEADS = (
    "qr = Reshape(i, FEWROWS)  qh = Reshape(qr, FEWHEADS)  qt = Transpose<perm=[0,2,1,3]>(qh)"
    "kh = Reshape(n, ALLHEADS)  kt = Transpose<perm=[0,2,3,1]>(kh)  w = MatMul(qt, kt)"
    "p = Softmax<axis=-1>(w)  vt = Transpose<perm=[0,2,1,3]>(kh)  o = MatMul(p, vt)"
    "ot = Transpose<perm=[0,2,1,3]>(o)  z = Reshape(ot, FEW)"
)
MEAN = "q = ReduceMean<axes=[{}], keepdims=0>({})  y = MatMul(q, CLASSES)"

# name: (nodes; the layer, its axes, its grid and the extra tokens; inputs)
AUTO = {
    "a convolutional network": (STEM + POOL.format("b"), ("b", "NCHW", (8, 8), 0), PICTURE),
    "1x1 convolutions behind the pool": (
        STEM + "q = GlobalAveragePool(b)  h = Conv(q, POINT)  i = Relu(h)  y = Flatten(i)",
        ("b", "NCHW", (8, 8), 0),
        PICTURE,
    ),
    "the pool written as a mean": (
        STEM + MEAN.format("-1, -2", "b"),
        ("b", "NCHW", (8, 8), 0),
        PICTURE,
    ),
    "scale and shortcut": (
        STEM + "h = Conv(b, POINT)  i = Mul(h, SCALE)  j = Add(i, b)" + POOL.format("j"),
        ("j", "NCHW", (8, 8), 0),
        PICTURE,
    ),
    "squeeze and excitation": (
        STEM + "u = GlobalAveragePool(b)  w = Conv(u, POINT)  z = Sigmoid(w)  j = Mul(z, b)"
        "" + POOL.format("j"),
        ("j", "NCHW", (8, 8), 0),
        PICTURE,
    ),
    "branches that meet": (
        STEM + "h = Conv(b, POINT)  i = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(b)"
        "j = Add(h, i)  q = GlobalMaxPool(j)  y = Flatten(q)",
        ("j", "NCHW", (8, 8), 0),
        PICTURE,
    ),
    "branches that meet behind their pools": (
        STEM + "h = Conv(b, POINT)  i = GlobalAveragePool(h)  j = GlobalMaxPool(b)"
        "q = Concat<axis=1>(i, j)  y = Flatten(q)",
        ("b", "NCHW", (8, 8), 0),
        PICTURE,
    ),
    "sizes read before and used behind": (
        "u = Shape(x)  v = Gather(u, FIRST)  w = Concat<axis=0>(v, LAST)" + STEM + ""
        "q = GlobalAveragePool(b)  f = Reshape(q, w)  y = MatMul(f, CLASSES)",
        ("b", "NCHW", (8, 8), 0),
        PICTURE,
    ),
    "a picture with channels last": (
        "i = Cast<to=1>(x)  j = Transpose<perm=[0,3,1,2]>(i)"
        "" + STEM.replace("x", "j") + POOL.format("b"),
        ("b", "NCHW", (8, 6), 0),
        "uint8[N,8,6,3] x",
    ),
    "channels moved last": (
        STEM + "t = Transpose<perm=[0,2,3,1]>(b)  h = MatMul(t, SQUARE)  i = Add(h, t)"
        "" + MEAN.format("1, 2", "i"),
        ("i", "NHWC", (8, 6), 0),
        "float[N,3,8,6] x",
    ),
    "channels moved last and first again": (
        STEM + "t = Transpose<perm=[0,2,3,1]>(b)  h = MatMul(t, SQUARE)"
        "i = Transpose<perm=[0,3,1,2]>(h)" + POOL.format("i"),
        ("i", "NCHW", (8, 6), 0),
        "float[N,3,8,6] x",
    ),
    "windows merged into the batch and back": (
        STEM + "w = Reshape(b, WINDOWS)  h = Conv(w, POINT)  z = Reshape(h, WHOLE)"
        "" + POOL.format("z"),
        ("z", "NCHW", (8, 8), 0),
        ONE,
    ),
    "tokens laid back on the grid": (
        TOKENS + "h = Relu(r)  z = Reshape(h, GRID)" + POOL.format("z"),
        ("z", "NCHW", (4, 4), 0),
        ONE,
    ),
    # The score reads only the class token: after the last attention no other token matters.
    "a transformer with a class token": (
        TOKENS + EXTRA + BLOCK + ATTENTION.format(i="t2", o="t3") + MLP.format(i="t3", o="t4") + ""
        "l = Gather<axis=1>(t4, INDEX)  y = MatMul(l, CLASSES)",
        ("t2", "NTC", (4, 4), 1),
        ONE,
    ),
    "the class token cut out by a slice": (
        TOKENS + EXTRA + BLOCK + "l = Slice(t2, FIRST, SECOND, SECOND)  y = MatMul(l, CLASSES)",
        ("t0", "NTC", (4, 4), 1),
        ONE,
    ),
    "a transformer that drops its extra tokens": (
        TOKENS + EXTRA + BLOCK + "l = Slice(t2, SECOND, END, SECOND)" + MEAN.format("1", "l"),
        ("l", "NTC", (4, 4), 0),
        ONE,
    ),
    "a transformer without extra tokens": (
        TOKENS + ATTENTION.format(i="n", o="t1") + MEAN.format("1", "t1"),
        ("t1", "NTC", (4, 4), 0),
        ONE,
    ),
    "a class token behind layers on rows": (
        TOKENS + EXTRA + BLOCK + ATTENTION.format(i="t2", o="t3") + ""
        "rows = Reshape(t3, FLAT)  h = Gemm(rows, SQUARE)  g = Reshape(h, BACK)  t4 = Add(t3, g)"
        "l = Gather<axis=1>(t4, INDEX)  y = MatMul(l, CLASSES)",
        ("t2", "NTC", (4, 4), 1),
        ONE,
    ),
    # Only every second token of every second row is a query: the outputs have the coarser grid.
    "a coarser grid of tokens that ask": (
        TOKENS + "g = Reshape(n, CELLS)  u = Slice(g, ZEROS, ENDS, ROWS, TWOS)"
        "t = Reshape(u, FEW)  i = MatMul(t, SQUARE)" + HEADS + "j = MatMul(z, SQUARE)  k = Relu(j)"
        "" + MEAN.format("1", "k"),
        ("k", "NTC", (2, 2), 0),
        ONE,
    ),
    "a coarser grid of an odd one": (
        "a = Conv<strides=[2,2]>(x, PATCH)  n = Transpose<perm=[0,2,3,1]>(a)"
        "u = Slice(n, ZEROS, ENDS, ROWS, TWOS)  t = Reshape(u, FEW)" + MEAN.format("1", "t"),
        ("t", "NTC", (2, 2), 0),
        "float[1,3,6,6] x",
    ),
}


def build(nodes: str, inputs: str = PICTURE, opset: int = 17) -> ModelProto:
    read = set(re.findall(r"[A-Z]{2,}", nodes))
    constants = {name: value for name, value in WEIGHTS.items() if name in read}
    return tiny(nodes, inputs, "float y", opset=opset, **constants)


def layers_of(proto: ModelProto, shape: tuple[int, ...] = (1, 3, 8, 8)) -> list[Layer]:
    model = load(proto)
    return grid_layers(model, infer_shapes(model.proto, {"x": shape}), "x", find_score(model).logit)


def shape_of(inputs: str) -> tuple[int, ...]:
    (dims,) = re.findall(r"\[(.*?)\]", inputs)
    return tuple(1 if dim == "N" else int(dim) for dim in dims.split(","))


@pytest.mark.parametrize("name", AUTO)
def test_auto(name: str) -> None:
    nodes, (tensor, axes, grid, prefix), inputs = AUTO[name]
    proto = build(nodes, inputs)
    layer = auto_layer(load(proto), layers_of(proto, shape_of(inputs)))
    assert (layer.tensor, layer.layout.axes, layer.grid) == (tensor, axes, grid)
    assert (layer.layout.prefix, layer.channels) == (prefix, 4)
    assert layer.whole


CLASS_TOKEN = "l = Gather<axis=1>({}, INDEX)  y = MatMul(l, CLASSES)"
READS_NORMALIZED = (
    "k = Transpose<perm=[0,2,1]>(z)  w = MatMul(z, k)  s = Softmax<axis=-1>(w)  v = MatMul(s, z)"
    "t1 = Add(t0, v)"
)
JOINED = "t = Concat<axis=1>(TOKEN, n)  "
NORM = EXTRA + "  z = LayerNormalization(t0, GAIN, SHIFT)"
NORMALIZED = {
    "one operator": NORM + READS_NORMALIZED + CLASS_TOKEN.format("t1"),
    "written out": EXTRA + "  m = ReduceMean<axes=[-1]>(t0)  c = Sub(t0, m)  p = Pow(c, SQUARED)"
    "d = ReduceMean<axes=[-1]>(p)  e = Add(d, TINY)  g = Sqrt(e)  h = Div(c, g)  i = Mul(h, GAIN)"
    "z = Add(i, SHIFT)" + READS_NORMALIZED + CLASS_TOKEN.format("t1"),
    "fused with the sum": JOINED + "z, o1, o2, t0 = com.microsoft.SkipLayerNormalization"
    "(t, PLACES, GAIN, SHIFT)" + READS_NORMALIZED + CLASS_TOKEN.format("t1"),
    # What the layers per token read, next to the attention, never reaches the class token.
    "layers beside the attention": NORM + READS_NORMALIZED + ""
    "u = LayerNormalization(t0, SHIFT, GAIN)  h = MatMul(u, SQUARE)  t2 = Add(t1, h)"
    "" + CLASS_TOKEN.format("t2"),
}


@pytest.mark.parametrize("name", NORMALIZED)
def test_auto_is_what_the_last_attention_reads(name: str) -> None:
    """Not the sum before its normalization: the normalization removes the length of a token."""
    proto = build(TOKENS + NORMALIZED[name])
    layer = auto_layer(load(proto), layers_of(proto))
    assert (layer.tensor, layer.layout.axes, layer.grid, layer.layout.prefix) == (
        ("z", "NTC", (4, 4), 1)
    )


@pytest.mark.parametrize("name", AUTO)
def test_inferred_shapes_are_those_of_a_run(name: str) -> None:
    nodes, _, inputs = AUTO[name]
    proto, shape = build(nodes, inputs), shape_of(inputs)
    inferred = infer_shapes(load(proto).proto, {"x": shape})
    made = [tensor for node in proto.graph.node for tensor in node.output]
    del proto.graph.output[:]
    for tensor in made:
        proto.graph.output.add(name=tensor)
    values = run(proto, {"x": np.zeros(shape, np.uint8 if "uint8" in inputs else np.float32)})
    assert {t: inferred.get(t) for t in made} == {
        t: value.shape for t, value in zip(made, values, strict=True)
    }


def test_layers_are_those_with_a_grid_on_the_way_to_the_score() -> None:
    proto = build(
        STEM + "d = Exp(b)  aside = GlobalMaxPool(d)  e = Neg(b)  h = Exp(e)  u = Shape(h)"
        "v = ConstantOfShape(u)"
        "j = Add(b, v)" + POOL.format("j")
    )
    assert [layer.tensor for layer in layers_of(proto)] == ["a", "b", "j"]


def test_windows_in_the_batch_are_no_layers() -> None:
    nodes, _, inputs = AUTO["windows merged into the batch and back"]
    assert [layer.tensor for layer in layers_of(build(nodes, inputs))] == ["a", "b", "z"]


def test_a_layer_is_whole_where_nothing_flows_around_it() -> None:
    proto = build(
        STEM + "h = Conv(b, POINT)  i = Relu(h)  j = Add(i, b)"
        "o = If(YES) <then_branch = t () => (float[N,4,8,8] p) { p = Add(j, a) },"
        "             else_branch = e () => (float[N,4,8,8] n) { n = Neg(j) }>"
        "l = Relu(o)" + POOL.format("l")
    )
    whole = {layer.tensor: layer.whole for layer in layers_of(proto)}
    # A branch reads `a`: not every path to the score goes through what is between `a` and the If.
    assert whole == {"a": True, "b": False, "h": False, "i": False, "j": False, "l": True}


@pytest.mark.parametrize(
    ("part", "grid"),
    [
        ("s = Slice(b, ZEROS, ENDS, SPATIAL, TWOS)", (4, 4)),
        ("s = Slice(b, ONES, ENDS, SPATIAL, ONES)", None),
        ("s = Slice(b, ZEROS, FOURS, SPATIAL, ONES)", None),
        ("s = Slice(b, ZEROS, FOURS, SPATIAL, TWOS)", None),
        ("s, rest = Split<axis=1, num_outputs=2>(b)", (8, 8)),
        ("rest, s = Split<axis=1, num_outputs=2>(b)", (8, 8)),
        ("s, rest = Split<axis=2, num_outputs=2>(b)", None),
    ],
    ids=[
        "every second cell",
        "a crop",
        "a quarter",
        "every second cell of a quarter",
        "first channels",
        "last channels",
        "the upper half",
    ],
)
def test_parts(part: str, grid: tuple[int, int] | None) -> None:
    """A crop is no grid over the whole picture; every second cell, or channel, is one."""
    proto = build(STEM + part + "q = GlobalAveragePool(s)  y = Flatten(q)", opset=18)
    found = {layer.tensor: layer.grid for layer in layers_of(proto)}
    assert found == {"a": (8, 8), "b": (8, 8), **({"s": grid} if grid else {})}


def test_a_model_without_a_grid() -> None:
    proto = build("q = GlobalAveragePool(x)  h = Relu(q)  y = Flatten(h)")
    with pytest.raises(LayerError, match="such as occlusion"):
        auto_layer(load(proto), layers_of(proto))


def test_operators_of_unknown_domains_tell_nothing() -> None:
    """In ONNX Runtime's blocked convolutions, rows hold other pixels than the shape says."""
    proto = tiny(
        "a = com.microsoft.nchwc.Conv(x, w)  q = com.microsoft.nchwc.GlobalAveragePool(a)"
        "r = com.microsoft.nchwc.ReorderOutput<channels = 8>(q)  y = Flatten(r)",
        domains=["com.microsoft.nchwc"],
        w=noise(8, 3, 1, 1),
    )
    model, shapes = load(proto), {"x": (1, 3, 8, 8), "a": (1, 8, 8, 8), "q": (1, 8, 1, 1)}
    layers = grid_layers(model, shapes, "x", "y")
    assert layers == []
    with pytest.raises(LayerError, match="save it at the level extended"):
        auto_layer(model, layers)


def test_convolutions_with_channels_last() -> None:
    """ONNX Runtime writes them for some CPUs; the shape does not say where the channels are."""
    nodes = "a = com.microsoft.QLinearConv<channels_last=1>(x, s, z, w, s, z, s, z)  y = Flatten(a)"
    model = load(tiny(nodes, domains=["com.microsoft"]))
    assert grid_layers(model, {"x": (1, 8, 8, 3), "a": (1, 8, 8, 4)}, "x", "y") == []


def test_names() -> None:
    proto = build(STEM + POOL.format("b"))
    proto.graph.node[1].name = "stem/relu"
    model = load(proto)
    assert tensor_of(model, "stem/relu") == tensor_of(model, "b") == "b"
    with pytest.raises(LayerError, match=r"no layer 'stem/rely' \(did you mean stem/relu\?\)"):
        tensor_of(model, "stem/rely")
    for name in ("", "x", "KERNEL"):
        with pytest.raises(LayerError, match="no layer"):
            tensor_of(model, name)


def test_rows_of_a_product_are_those_of_its_first_factor() -> None:
    """A mixer makes new tokens by its weights, so their places are not known."""
    mixed = "h = Reshape(n, ALLHEADS)  v = Transpose<perm=[0,2,1,3]>(h)  o = MatMul(MIXER, v)"
    model = load(build(TOKENS + mixed + "y = ReduceMean<axes=[1,3], keepdims=0>(o)"))
    layouts = find_layouts(model, infer_shapes(model.proto, {"x": (1, 3, 8, 8)}), "x")
    assert layouts["v"].axes == "NGTC"
    assert "o" not in layouts


@pytest.mark.parametrize(
    ("nodes", "axes"),
    [
        ("rows = Reshape(n, ALLROWS)  i = Relu(rows)", "RC"),
        ("rows = Reshape(n, ALLROWS)  i = ReduceMean<axes=[0], keepdims=1>(rows)", None),
    ],
)
def test_rows_are_those_of_tokens_as_long_as_there_are_as_many(
    nodes: str, axes: str | None
) -> None:
    proto = build(TOKENS + nodes + "  y = Gemm(i, CLASSES)")
    model = load(proto)
    layouts = find_layouts(model, infer_shapes(model.proto, {"x": (1, 3, 8, 8)}), "x")
    assert layouts["rows"].axes == "RC"
    assert [layouts[t].axes if t in layouts else None for t in ("i", "y")] == [axes, axes]


@pytest.mark.parametrize(
    ("joined", "prefix"),
    [("TOKEN, n", 1), ("TOKEN, TOKEN, n", 2), ("n, TOKEN", None), ("TOKEN, n, TOKEN", None)],
)
def test_extra_tokens_are_those_before_the_grid(joined: str, prefix: int | None) -> None:
    proto = build(TOKENS + f"i = Concat<axis=1>({joined})" + MEAN.format("1", "i"))
    found = {layer.tensor: layer.layout.prefix for layer in layers_of(proto)}
    assert found.get("i") == prefix
    assert found["n"] == 0
