"""RNN, GRU and LSTM in ONNX Runtime compared with their Scans, and gradients through them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.lowering.recurrent import unfold_recurrences
from onnxplain.model.load import load
from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, normal
from tools.gradcheck.agreement import agreeing, operators
from tools.gradcheck.reference import onnxruntime_function

STEPS, BATCH, FEATURES, SIZE = 4, 2, 3, 5
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "RNN": ("RNN", {}),
    "RNN, bare": ("RNN", {"without": ["b", "h"]}),
    "RNN, Relu backwards": ("RNN", {"direction": "reverse", "activations": ["Relu"]}),
    "RNN, both ways with other activations": (
        "RNN",
        {
            "direction": "bidirectional",
            "activations": ["Affine", "LeakyRelu"],
            "activation_alpha": [0.3, 0.2],
            "activation_beta": [0.1],
        },
    ),
    "GRU": ("GRU", {}),
    "GRU, reset after the product": ("GRU", {"linear_before_reset": 1}),
    "GRU, both ways": ("GRU", {"direction": "bidirectional", "linear_before_reset": 1}),
    "GRU, lengths": ("GRU", {"direction": "reverse", "lengths": [4, 2]}),
    "LSTM": ("LSTM", {}),
    "LSTM, bare": ("LSTM", {"without": ["b", "h", "c"]}),
    "LSTM, both ways": ("LSTM", {"direction": "bidirectional"}),
    "LSTM, both ways with lengths": ("LSTM", {"direction": "bidirectional", "lengths": [3, 4]}),
    "LSTM, peepholes": ("LSTM", {"peepholes": True}),
    "LSTM, coupled gates": ("LSTM", {"input_forget": 1}),
    "LSTM, clipped": ("LSTM", {"clip": 0.4}),
    "LSTM, hard activations": ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Tanh"]}),
}


def model_of(
    op: str,
    without: tuple[str, ...] = (),
    lengths: list[int] | None = None,
    peepholes: bool = False,
    **attributes: Any,
) -> tuple[ModelProto, dict[str, Array]]:
    """A model of one node, and its inputs."""
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = GATES[op] * SIZE
    inputs: dict[str, Array | None] = {
        "x": normal(STEPS, BATCH, FEATURES),
        "w": normal(ways, gates, FEATURES, seed=1) / 2,
        "r": normal(ways, gates, SIZE, seed=2) / 2,
        "b": normal(ways, 2 * gates, seed=3) / 2,
        "l": None if lengths is None else np.array(lengths, np.int32),
        "h": normal(ways, BATCH, SIZE, seed=4),
    }
    if op == "LSTM":
        inputs["c"] = normal(ways, BATCH, SIZE, seed=5)
        inputs["p"] = normal(ways, 3 * SIZE, seed=6) if peepholes else None
    given = {n: v for n, v in inputs.items() if v is not None and n not in without}
    outputs = ["y", "y_h", "y_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(
        op,
        [name if name in given else "" for name in inputs],
        outputs,
        hidden_size=SIZE,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in given.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)]
    ), given


@pytest.mark.parametrize(("op", "settings"), CASES.values(), ids=CASES)
def test_same_answers_from_a_scan(op: str, settings: dict[str, Any]) -> None:
    model, feeds = model_of(op, **settings)
    changed = agreeing(model, unfold_recurrences, feeds, rtol=1e-5, atol=1e-6)
    assert op not in operators(changed)


@pytest.mark.parametrize(
    "name", ["RNN", "GRU, both ways", "GRU, lengths", "LSTM, peepholes", "LSTM"]
)
def test_gradient(name: str) -> None:
    op, settings = CASES[name]
    model, feeds = model_of(op, **settings)
    check_gradient(lower(load(model)).proto, feeds)


def test_batch_first() -> None:
    """ONNX Runtime's kernels do not support this layout: compare with the other, transposed."""
    turned = {"x", "h", "c"}
    model, feeds = model_of("LSTM", direction="bidirectional")
    expected = onnxruntime_function(model)(feeds)
    model, _ = model_of("LSTM", direction="bidirectional", layout=1)
    for value in model.graph.input:
        value.type.tensor_type.ClearField("shape")
    feeds = {n: v.transpose(1, 0, 2) if n in turned else v for n, v in feeds.items()}
    changed = unfold_recurrences(load(model))
    y, *states = onnxruntime_function(changed.proto)(feeds)
    found = [y.transpose(1, 2, 0, 3), *(state.transpose(1, 0, 2) for state in states)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_any_length_and_batch() -> None:
    """The gradient of a model that declares neither size, at two of each."""
    model, feeds = model_of("LSTM", without=("b", "h", "c"))
    for axis, name in enumerate(["steps", "batch"]):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    prepared = lower(load(model)).proto
    for size in (1, 3):
        check_gradient(prepared, feeds | {"x": normal(size + 1, size, FEATURES)}, ["x"])
