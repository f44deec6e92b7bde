"""What is known about a model before anything is explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from tiny import noise, run, tiny

from onnxplain import Explainer
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import LayerError, ModelError
from onnxplain.execution.model_structure import ModelStructure

MODELS = Path(__file__).parents[2] / "models"
KERNEL = noise(4, 3, 3, 3)
POOLED = "q = GlobalAveragePool({})  y = Flatten(q)"
X = noise(1, 3, 8, 8)


def structure(proto: ModelProto, x: np.ndarray = X) -> ModelStructure:
    explainer = Explainer(proto, provider="cpu")
    score, ready = explainer.score_tensor, lambda: lower(explainer.model)
    return ModelStructure(explainer._runner, x, score, lambda: None, ready)


def test_shapes_are_inferred_without_a_run() -> None:
    explainer = Explainer(tiny("a = Conv(x, k)  b = Relu(a)" + POOLED.format("b"), k=KERNEL))
    assert explainer.layer(x=X).shape == (1, 4, 6, 6)
    assert explainer.session_runs == 0


def test_shapes_that_cannot_be_inferred_are_read_off_a_run() -> None:
    proto = tiny(
        "a = Conv(x, k)  b = com.microsoft.SampleOp(a)  s = SequenceConstruct(b, b)"
        "c = ConcatFromSequence<axis=1>(s)  d = MaxPool<kernel_shape=[2,2]>(c)"
        + POOLED.format("d"),
        domains=["com.microsoft"],
        k=KERNEL,
    )
    explainer = Explainer(proto, provider="cpu")
    layers = {layer.tensor: layer.shape for layer in explainer.layers(X)}
    assert layers == {
        "a": (1, 4, 6, 6),
        "b": (1, 4, 6, 6),
        "c": (1, 8, 6, 6),
        "d": (1, 8, 5, 5),
    }
    assert explainer.session_runs == 1


@pytest.mark.parametrize("batch", [1, 4])
def test_the_shapes_of_a_fixed_batch_are_its_own(batch: int) -> None:
    proto = tiny(
        "a = Conv(x, k)  w = Reshape(a, windows)  v = Relu(w)  b = Reshape(v, whole)"
        + POOLED.format("b"),
        f"float[{batch},3,8,8] x",
        k=KERNEL,
        windows=np.array([4 * batch, 4, 3, 3]),
        whole=np.array([batch, 4, 6, 6]),
    )
    shapes = structure(proto).shapes
    assert (shapes["w"], shapes["b"]) == ((4 * batch, 4, 3, 3), (batch, 4, 6, 6))
    assert [layer.tensor for layer in structure(proto).layers] == ["a", "b"]


def named() -> ModelProto:
    proto = tiny(
        "a = Conv(x, k)  b = Relu(a)  aside = Exp(a)  g = GlobalAveragePool(b)  h = Conv(g, one)"
        "f = Flatten(h)  y = Relu(f)",
        outputs="float y, float aside",
        k=KERNEL,
        one=noise(4, 4, 1, 1),
    )
    for node in proto.graph.node[:2]:
        node.name = "stem/" + node.op_type
    return proto


@pytest.mark.parametrize("name", ["stem/Relu", "b", "auto"])
def test_a_layer_by_the_name_of_its_node_or_tensor(name: str) -> None:
    assert structure(named()).layer(name).tensor == "b"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stem/relu", r"no layer 'stem/relu' \(did you mean stem/Relu"),
        ("", "no layer ''"),
        ("x", "no layer 'x'"),
        ("aside", r"'aside' is not between .* \(there is b, a\)"),
        ("g", r"'g' has no spatial grid of more than one cell: its shape is \(1, 4, 1, 1\)"),
        ("f", r"'f' has no rows and columns that can be found from its shape \(1, 4\)"),
        ("y", r"'y' has no rows and columns"),
    ],
)
def test_a_name_that_is_no_layer(name: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        structure(named()).layer(name)


PYRAMID = (
    "a = Conv<strides=[2,2]>(x, k)  b = MaxPool<kernel_shape=[3,3], strides=[2,2]>(a)"
    "c = MaxPool<kernel_shape=[3,3], strides=[2,2]>(b)" + POOLED.format("c")
)


@pytest.mark.parametrize(("size", "left"), [(31, 3), (15, 1), (12, 1), (10, 0), (6, 0), (2, 0)])
def test_a_picture_that_a_window_does_not_fit_into(size: int, left: int) -> None:
    """For such a picture ONNX Runtime returns NaN, or crashes if it fuses layers."""
    proto, x = tiny(PYRAMID, "float[N,3,H,W] x", k=KERNEL), noise(1, 3, size, size)
    if left:
        assert structure(proto, x).shapes["c"][2:] == (left, left)
        assert np.isfinite(run(proto, {"x": x})[0]).all()
        return
    with pytest.raises(ModelError, match=rf"\(1, 3, {size}, {size}\) is too small for this model"):
        Explainer(proto, provider="cpu").attribute(x, "occlusion", window=1, fill="zeros")


def test_the_smallest_picture_that_squeezenet_takes() -> None:
    """On a smaller one ONNX Runtime 1.31 ends the process with SIGFPE."""
    explainer = Explainer(MODELS / "squeezenet1_1.onnx", provider="cpu")
    options = {"window": 17, "stride": 17, "fill": "zeros", "target": 0}
    assert explainer.attribute(noise(1, 3, 17, 17), "occlusion", **options).values.any()
    with pytest.raises(ModelError, match="MaxPool 'pool5' leaves nothing of it"):
        explainer.attribute(noise(1, 3, 16, 16), "occlusion", **options)


# Tokens of a 4 x 4 grid in another order: the graph does not show their places.
SHUFFLED = (
    "a = Conv<strides=[2,2]>(x, k)  b = Relu(a)  p = Reshape(b, apart)"
    "q = Transpose<perm=[0,3,5,2,4,1]>(p)  t = Reshape(q, tokens)  h = MatMul(t, w)  j = Tanh(h)"
    "s = Add(t, j)  f = ReduceMean<axes=[1], keepdims=0>({})  y = MatMul(f, w)"
)
SHUFFLE = {
    "k": noise(4, 3, 2, 2),
    "w": noise(4, 4),
    "apart": np.array([1, 4, 2, 2, 2, 2]),
    "tokens": np.array([1, 16, 4]),
}


@pytest.mark.parametrize(("last", "doubted"), [("s", True), ("t", False)])
def test_auto_says_that_later_tokens_have_no_known_place(last: str, doubted: bool) -> None:
    explainer = Explainer(tiny(SHUFFLED.format(last), "float[1,3,8,8] x", **SHUFFLE))
    assert explainer.layer(x=X).tensor == "b"
    assert ("'s': the map shows an early stage" in explainer.warning(X)) == doubted
    for options, warned in (({}, doubted), ({"layer": "b"}, False)):
        found = explainer.attribute(X, "layercam", 0, **options)
        said = found.diagnostics["samples"][0].get("warnings", [])
        assert [s for s in said if "early stage" in s] == [explainer.warning(X)] * warned


def test_tokens_of_no_known_place_before_the_layer_are_no_doubt() -> None:
    body = SHUFFLED.partition("f = ")[0] + (
        "g = Reshape(s, cells)  c = Conv(g, point)  f = GlobalAveragePool(c)  y = Flatten(f)"
    )
    more = {"cells": np.array([1, 4, 4, 4]), "point": noise(4, 4, 1, 1)}
    explainer = Explainer(tiny(body, "float[1,3,8,8] x", **SHUFFLE, **more))
    assert (explainer.layer(x=X).tensor, explainer.warning(X)) == ("c", "")


# Rows of features, (tokens, channels), become an output without rows and columns.
ROWS = (
    "a = Conv<strides=[2,2]>(x, k)  b = Relu(a)  aside = MaxPool<kernel_shape=[2,2],strides=[2,2]>"
    "(b)  m = GlobalAveragePool(aside)  j = Mul(b, m)  r = Reshape(j, nct)"
    "t = Transpose<perm=[0,2,1]>(r)  e = Reshape(t, rows)  h = MatMul(e, w)"
)


@pytest.mark.parametrize(
    "answer",
    ["p = ReduceMean<axes=[0], keepdims=1>(h)  y = Gemm(p, w)", "y = Gemm(h, w)"],
    ids=["the mean of all rows", "the rows themselves"],
)
def test_rows_of_tokens_are_no_map_of_scores(answer: str) -> None:
    proto = tiny(
        ROWS + answer,
        "float[1,3,8,8] x",
        k=noise(4, 3, 2, 2),
        w=noise(4, 4),
        nct=np.array([1, 4, 16]),
        rows=np.array([16, 4]),
    )
    found = structure(proto)
    assert [layer.grid for layer in found.layers] == [
        (4, 4),
        (4, 4),
        (2, 2),
        (4, 4),
        (4, 4),
        (4, 4),
    ]
    assert found.answer_map is None
    assert found.layer("auto").tensor == "t"
