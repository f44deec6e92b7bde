"""Operators written out by their definitions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from onnxplain.autodiff.lowering import functions
from onnxplain.autodiff.lowering.functions import expand_functions
from onnxplain.autodiff.table import Rules
from onnxplain.model.load import load
from tools.gradcheck import normal
from tools.gradcheck.agreement import agreeing, operators
from tools.gradcheck.reference import agrees, float64_function

CALLS = {
    "HardSwish": "HardSwish(x)",
    "MeanVarianceNormalization": "MeanVarianceNormalization<axes=[1,2]>(x)",
    "Clip, by its types": "Clip(x, low)",
    "LayerNormalization, by its types": "LayerNormalization(x, scale)",
    "Softmax, by its opset": "Softmax<axis=1>(x)",
    "behind an operator of another domain": "Clip(foreign, low)",
    "Mish, whose body has another": "Mish(x)",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_operator_without_a_rule(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "STANDARD", Rules())
    changed = agreeing(
        f"""<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1],
        metadata_props: ["key": "value"]>
        g (float[n,3,4] x) => (float[n,3,4] y) <float low = {{-0.5}}, float[4] scale = {{1,2,3,4}}>
        {{ foreign = com.microsoft.QuickGelu(x) h = {call} y = Neg(h) }}""",
        expand_functions,
        {"x": normal(2, 3, 4)},
    )
    left = {op for op in operators(changed) if op in BODIES}
    assert left == set()
    assert changed.index.producer("h") is not None
    assert changed.metadata == {"key": "value"}


BODIES = {
    schema.name
    for schema in onnx.defs.get_all_schemas()
    if schema.has_function or schema.has_context_dependent_function
}


def test_inside_a_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "STANDARD", Rules())
    changed = agreeing(
        """<ir_version: 8, opset_import: ["": 18]> g (float[2] x, bool c) => (float[2] y)
        { y = If(c) <then_branch = a () => (float[2] p) { p = HardSwish(x) },
                     else_branch = b () => (float[2] q) { q = Neg(x) }> }""",
        expand_functions,
        {"x": normal(2), "c": np.array(True)},
    )
    assert "HardSwish" not in operators(changed)


NEWEST = {
    "inputs left out": """<ir_version: 10, opset_import: ["": 27]>
        g (float[1,3,4] q, float[1,3,4] k, float[1,3,4] v, float[1,3,4] d) => (float[1,3,4] y)
        { y, state = LinearAttention<update_rule="gated", q_num_heads=2, kv_num_heads=2>
              (q, k, v, , d) }""",
    "another domain of ONNX": """<ir_version: 10, opset_import: ["": 26, "ai.onnx.preview": 1]>
        g (float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] v) => (float[1,2,3,4] y)
        { y = ai.onnx.preview.FlexAttention(q, k, v) }""",
}
"""Operators that ONNX Runtime does not have yet; the reference runs their bodies automatically."""


@pytest.mark.parametrize("source", NEWEST.values(), ids=NEWEST)
def test_newest(source: str) -> None:
    model = load(parser.parse_model(source))
    (operator,) = operators(model)
    changed = expand_functions(model)
    assert operator not in operators(changed)
    shapes = {"FlexAttention": (1, 2, 3, 4), "LinearAttention": (1, 3, 4)}
    shape = shapes[operator.split("::")[-1]]
    feeds = {name: normal(*shape, seed=i) / 2 for i, name in enumerate("qkvd")}
    expected = float64_function(model.proto)(feeds)
    assert agrees(float64_function(changed.proto), feeds, expected)


@pytest.mark.parametrize("call", ["Softmax(x)", "GreaterOrEqual(x, x)", "Range(one, x, one)"])
def test_what_has_a_rule_or_no_gradient_stays(call: str) -> None:
    source = f"""<ir_version: 8, opset_import: ["": 18]>
        g (float x) => (float y) <float one = {{1}}> {{ y = {call} }}"""
    model = load(parser.parse_model(source))
    assert expand_functions(model) is model
