"""Replacing nodes, whatever a rule returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_graphsurgeon as gs
from onnx import parser

from onnxplain.autodiff.lowering.rewrite import Rewrite, Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView
from onnxplain.model.load import load
from onnxplain.model.model import Model
from tools.gradcheck import normal
from tools.gradcheck.agreement import agreeing, operators

SPLIT = """<ir_version: 8, opset_import: ["": 18]> g (float[4] x) => (float[2] y, float[2] z)
    { a, b = Split<num_outputs=2>(x) y = Neg(a) z = Exp(b) }"""


def halves(g: Rewriter, s: NodeView) -> Sequence[gs.Tensor]:
    first = g.Gather(s.x, [0, 1])
    return [first, g.Gather(s.x, [2, 3])]


def splitting(rule: Rewrite) -> Callable[[Model], Model]:
    rules = Rewrites({("", "Split"): rule})
    return lambda model: rewritten(model, rules)


def test_names_stay_and_added_ones_are_new() -> None:
    model = parser.parse_model(SPLIT)
    taken = "onnxplain/prepare/gather_0"
    model.graph.node[1].output[0] = model.graph.output[0].name = taken
    changed = agreeing(model, splitting(halves), {"x": normal(4)})
    assert operators(changed) == ["Gather", "Gather", "Neg", "Exp"]
    assert changed.index.tensors() == ["a", "b", taken, "z"]
    names = [node.name for node in changed.index.nodes if node.name]
    assert len(set(names)) == len(names)


def test_one_tensor_for_both_outputs() -> None:
    source = """<ir_version: 8, opset_import: ["": 18]> g (float[2] x) => (float[2] y, float[2] z)
        { x2 = Concat<axis=0>(x, x) y, z = Split<num_outputs=2>(x2) }"""

    def twice(g: Rewriter, s: NodeView) -> Sequence[gs.Tensor]:
        half = g.Gather(s.x, [0, 1])
        return [half, half]

    agreeing(source, splitting(twice), {"x": normal(2)})


def test_an_input_handed_back() -> None:
    source = """<ir_version: 8, opset_import: ["": 18]> g (float[2] x) => (float[2] y)
        { y = Dropout(x) }"""
    rules = Rewrites({("", "Dropout"): lambda g, s: s.x})
    changed = agreeing(source, lambda model: rewritten(model, rules), {"x": normal(2)})
    assert operators(changed) == ["Identity"]


def test_a_rule_that_steps_aside() -> None:
    model = load(parser.parse_model(SPLIT))
    assert splitting(lambda g, s: None)(model) is model
