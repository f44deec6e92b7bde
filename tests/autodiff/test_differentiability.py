"""What stops a gradient, reported before any run: the same as when differentiating."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny import tiny

from onnxplain import Explainer
from onnxplain.autodiff.differentiability import Obstacle, differentiability
from onnxplain.autodiff.differentiate import differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import GradientError, OnnxplainError
from onnxplain.model.load import load
from tools.gradients.cases import cases

VECTOR = "float[N,3] x"
STRANGE = Obstacle("strange", "com.example::Strange")


def vectors(body, opset=18, **constants):
    """A model from x (N, 3) to y (N, 3); nodes have the names of their operators, in lowercase."""
    given = {"domains": ["com.example"], "opset": opset}
    proto = tiny(body, VECTOR, "float[N,3] y", **given, **constants)
    for node in proto.graph.node:
        node.name = node.op_type.lower()
    return load(proto)


def survey(model):
    return differentiability(model, lower(model), "y", "x")


def looked_at(body, **given):
    return survey(vectors(body, **given))


def test_a_model_without_trouble():
    found = looked_at("a = Tanh(x) y = Relu(a)")
    assert (found.complete, found.missing, found.cuts, found.target) == (True, (), (), "y")


def test_every_operator_without_a_rule_on_the_way_is_named_not_just_the_first():
    body = "a = com.example.Strange(x) b = Exp(a) c = com.example.Odd(b) y = Relu(c)"
    found = looked_at(body)
    assert found.missing == (STRANGE, Obstacle("odd", "com.example::Odd"))
    assert (found.complete, found.cuts, found.target) == (False, (), "y")


@pytest.mark.parametrize(
    "body",
    [
        "s = com.example.Strange(one) y = Add(x, s)",
        "s = com.example.Strange(x) y = Tanh(x)",
    ],
    ids=["of a constant", "beside the score"],
)
def test_an_operator_without_a_rule_off_the_way_is_not_named(body):
    assert looked_at(body, one=np.float32(1)).complete


def test_a_rule_that_refuses_says_why():
    body = "r = Unsqueeze(x, last) n = Size(x) d = DFT(r, , n) y = ReduceSum<keepdims=0>(d, last)"
    found = looked_at(body, opset=20, last=np.array([-1]))
    (refused,) = found.missing
    assert (refused.node, refused.op) == ("dft", "DFT")
    assert "computed at run time" in refused.reason


@pytest.mark.parametrize(
    ("op", "body"),
    [
        ("Round", "b = Round(a) y = Mul(b, b)"),
        ("ArgMax", "b = ArgMax<axis = 1>(a) y = Cast<to = 1>(b)"),
        ("ArgMax", "b = ArgMax<axis = 1>(a) c = Cast<to = 6>(b) y = Cast<to = 1>(c)"),
        ("ArgMax", "b = ArgMax<axis = 1>(a) y = Gather(table, b)"),
        ("Greater", "b = Greater(a, one) y = Where(b, one, two)"),
        ("Cast", "b = Cast<to = 6>(a) y = Cast<to = 1>(b)"),
        ("Cast", "b = Cast<to = 7>(a) c = BitwiseAnd(b, b) y = Cast<to = 1>(c)"),
        ("Shape", "b = Shape(a) y = Cast<to = 1>(b)"),
        ("Hardmax", "y = Hardmax(a)"),
    ],
)
def test_what_cuts_the_score_off_is_named_with_the_tensor_before_it(op, body):
    weights = {"one": np.float32(1), "two": np.float32(2), "table": np.ones((3, 3), np.float32)}
    found = looked_at(f"a = Tanh(x) {body}", **weights)
    assert [cut.op for cut in found.cuts] == [op]
    assert (found.complete, found.target) == (False, "a")


def test_a_step_beside_a_way_that_is_open_cuts_nothing_off():
    assert looked_at("a = Tanh(x) b = Round(a) y = Add(a, b)").complete


def test_the_proposed_tensor_is_one_that_no_earlier_step_cuts_off():
    body = "a = Tanh(x) b = Round(a) c = com.example.Strange(b) d = Exp(c) y = Ceil(d)"
    found = looked_at(body)
    assert [cut.op for cut in found.cuts] == ["Round", "Ceil"]
    assert (found.missing, found.target) == ((STRANGE,), "a")


def test_the_proposed_tensor_is_one_of_the_file():
    # Before opset 13 a Hardmax over all axes is one over rows, between two Reshape nodes.
    proto = tiny(
        "a = Tanh(x) y = Hardmax<axis = 1>(a)", "float[2,3,4] x", "float[2,3,4] y", opset=11
    )
    found = survey(load(proto))
    assert ([cut.op for cut in found.cuts], found.target) == (["Hardmax"], "a")


@pytest.mark.parametrize(
    "body", ["y = Tanh(w)", "s = Shape(x) y = Cast<to = 1>(s)", "y = Round(x)"]
)
def test_without_a_tensor_to_explain_none_is_proposed(body):
    found = looked_at(body, w=np.ones((2, 3), np.float32))
    assert (found.complete, found.target) == (False, None)


def test_what_is_inside_a_branch_is_seen():
    def branch(op, domain=""):
        result = helper.make_tensor_value_info(op, TensorProto.FLOAT, ["N", 3])
        node = helper.make_node(op, ["x"], [op], op.lower(), domain=domain)
        return helper.make_graph([node], op, [], [result])

    proto = tiny("y = Tanh(x)", f"{VECTOR}, bool[] c", "float[N,3] y", domains=["com.example"])
    branches = {"then_branch": branch("Tanh"), "else_branch": branch("Strange", "com.example")}
    proto.graph.node[0].CopyFrom(helper.make_node("If", ["c"], ["y"], "if", **branches))
    assert survey(load(proto)).missing == (STRANGE,)


@pytest.mark.parametrize(
    "body",
    [
        "a = Tanh(x) y = Relu(a)",
        "a = Tanh(x) y = com.example.Strange(a)",
        "a = Tanh(x) b = Round(a) y = Mul(b, b)",
        "a = Tanh(x) b = ArgMax<axis = 1>(a) y = Cast<to = 1>(b)",
        "a = Det(x) y = Celu(x)",
    ],
)
def test_it_is_complete_exactly_where_differentiating_works(body):
    model = vectors(body)
    assert is_complete(model, "y", "x") == works(model, "y", "x")


@pytest.mark.slow
def test_it_agrees_with_differentiating_on_every_node_test_of_onnx():
    verdicts = []
    for case in cases():
        model = load(case.model)
        sources, scores = (
            [spec.name for spec in ends if spec.dtype.kind == "f"]
            for ends in (model.inputs, model.outputs)
        )
        for score, source in itertools.product(scores, sources[:1]):
            expected, found = works(model, score, source), is_complete(model, score, source)
            verdicts.append((case.name, score, expected, found))
    assert [verdict for verdict in verdicts if verdict[2] != verdict[3]] == []
    assert {expected for *_, expected, _ in verdicts} == {True, False}
    assert len(verdicts) > 1000


def works(model, score, source):
    try:
        return bool(differentiate(lower(model), score, [source]))
    except OnnxplainError:
        return False


def is_complete(model, score, source):
    try:
        return differentiability(model, lower(model), score, source).complete
    except OnnxplainError:
        return False


def test_an_explainer_looks_from_the_logit_to_its_input():
    found = Explainer(
        tiny("a = Round(x) y = Softmax(a)", VECTOR, "float[N,3] y")
    ).differentiability()
    assert (found.score, found.source, found.target) == ("a", "x", None)


def test_a_model_that_is_too_old_is_refused():
    with pytest.raises(GradientError, match="opset 6"):
        Explainer(tiny("y = Relu(x)", VECTOR, "float[N,3] y", opset=6)).differentiability()
