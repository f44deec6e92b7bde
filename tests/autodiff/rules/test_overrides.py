"""Faster forms of rules: each is used, and gives the same as the definition.

`check_gradient` compares both for every case of the other files, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxplain.autodiff.differentiate import differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.rules.fast import LOW_MEMORY_OVERRIDES, OVERRIDES
from onnxplain.autodiff.table import DEFINITIONS
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.tensors import Array
from tools.gradcheck import check_gradient, distinct, gradients, ints, normal, single_node
from tools.gradcheck.agreement import operators
from tools.gradcheck.reference import onnxruntime_function

X = {"x": distinct(2, 3, 7, 8)}
DENSE: dict[str, Any] = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}
STRIDED: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
SIDE_BY_SIDE: dict[str, Any] = {"kernel_shape": [2, 3], "strides": [2, 3]}
SKEWED: dict[str, Any] = {"kernel_shape": [2, 3], "strides": [1, 2], "pads": [1, 0, 0, 1]}

SLICED = {"starts": ints(5, 1), "ends": ints(1, 8), "axes": ints(2, 3), "steps": ints(-2, 3)}
PADS = {"pads": ints(0, 0, 2, 1, 0, 0, 0, 3)}

Case = tuple[dict[str, Array], dict[str, Any]]

CASES: dict[str, list[Case]] = {
    "Conv": [
        ({**X, "w": normal(4, 3, 3, 2)}, DENSE),
        ({**X, "w": normal(3, 1, 3, 3)}, {**STRIDED, "group": 3}),
        ({**X, "w": normal(4, 3, 3, 3)}, STRIDED),
    ],
    "MaxPool": [(X, STRIDED)],
    "AveragePool": [
        (X, DENSE),
        (X, SIDE_BY_SIDE),
        (X, STRIDED),
        (X, {**SKEWED, "count_include_pad": 1}),
    ],
    "LpPool": [(X, DENSE), (X, SIDE_BY_SIDE), (X, STRIDED)],
    "Resize": [
        (
            {**X, "roi": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 3], np.float32)},
            {"constants": ["roi", "scales"], "mode": "nearest"},
        )
    ],
    "Gather": [
        ({**X, "i": ints(2, 3, 4)}, {"constants": ["i"], "axis": 2}),
        ({**X, "i": ints(5, 1, -2, 1)}, {"constants": ["i"], "axis": 2}),
    ],
    "Slice": [({**X, **SLICED}, {"constants": [*SLICED]})],
    "Pad": [({**X, **PADS}, {"constants": [*PADS], "mode": "reflect"})],
    "MatMul": [({**X, "w": normal(8, 5)}, {})],
    "Pow": [({**X, "e": np.array(2, np.float32)}, {"constants": ["e"]})],
    "Clip": [
        (
            {**X, "low": np.array(-3, np.float32), "high": np.array(6, np.float32)},
            {"constants": ["low", "high"]},
        )
    ],
    "Gelu": [({"x": normal(2, 9)}, {"approximate": "tanh"})],
    **{op: [(X, {})] for op in ("HardSigmoid", "HardSwish", "Mish", "Relu")},
    **{op: [({"x": normal(2, 9)}, {})] for op in ("Sigmoid", "Tanh")},
    "Swish": [({"x": normal(2, 9)}, {"opset": 24})],
}
"""For each faster form, in the order of its table, a node that it applies to."""

EVERY = [(op, place) for op, fast in OVERRIDES.items() for place in range(len(fast))]


def case(op: str, place: int) -> tuple[Model, dict[str, Array]]:
    feeds, form = CASES[op][place]
    constants = form.get("constants", ())
    fed = {name: value for name, value in feeds.items() if name not in constants}
    return load(single_node(op, feeds, **form)), fed


@pytest.mark.parametrize(("op", "place"), EVERY)
def test_each_runs_where_it_applies_and_gives_the_gradients_of_the_definition(
    op: str, place: int
) -> None:
    model, feeds = case(op, place)
    alone = DEFINITIONS.overridden({op: [OVERRIDES[op][place]]})
    wanted = list(feeds)
    made = [differentiate(model, "y0", wanted, rules=rules) for rules in (alone, DEFINITIONS)]
    assert operators(made[0]) != operators(made[1])
    (y,) = onnxruntime_function(model.proto)(feeds)
    seed = {"y0": normal(*y.shape, seed=7)}
    found, defined = (
        gradients(model, feeds, seed, wanted, rules=rules) for rules in (alone, DEFINITIONS)
    )
    for name in wanted:
        np.testing.assert_allclose(found[name], defined[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("op", "place"), EVERY)
def test_the_first_that_applies_runs(op: str, place: int) -> None:
    model, feeds = case(op, place)
    first = DEFINITIONS.overridden({op: OVERRIDES[op][: place + 1]})
    made = [differentiate(model, "y0", list(feeds), rules=rules) for rules in (first, STANDARD)]
    assert operators(made[0]) == operators(made[1])


@pytest.mark.parametrize(("op", "place"), EVERY)
def test_definitions_and_faster_forms_are_right(op: str, place: int) -> None:
    model, feeds = case(op, place)
    check_gradient(model.proto, feeds)


def test_low_memory_is_without_copies_of_weights_alone() -> None:
    assert {op for op in OVERRIDES if OVERRIDES[op] != LOW_MEMORY_OVERRIDES[op]} == {"Conv"}


@pytest.mark.parametrize("name", ["squeezenet1_1", "digit_vit"])
def test_definitions_alone_give_the_gradient_of_a_shipped_model(
    name: str, request: pytest.FixtureRequest
) -> None:
    model = lower(load(request.config.rootpath / "models" / f"{name}.onnx"))
    (source,), (score,) = model.inputs, model.proto.graph.output
    x = {source.name: normal(1, *(d if isinstance(d, int) else 64 for d in source.shape[1:]))}
    (y,) = onnxruntime_function(model.proto)(x)
    seed = {score.name: np.eye(y.size, dtype=np.float32)[[int(y.argmax())]].reshape(y.shape)}
    found, defined = (
        gradients(model, x, seed, list(x), rules=rules)[source.name]
        for rules in (STANDARD, DEFINITIONS)
    )
    np.testing.assert_allclose(found, defined, atol=1e-4 * float(np.abs(defined).max()))
