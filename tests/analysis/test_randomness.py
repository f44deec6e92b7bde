"""Which nodes draw random numbers, also where only a run can tell."""

import numpy as np
import pytest
from tiny import tiny

from onnxplain.analysis.randomness import NamedNode, drawing_nodes, listed
from onnxplain.errors import GradientError
from onnxplain.execution.randomness import Randomness
from onnxplain.model.load import load

ENDS = " p = GlobalAveragePool(d) y = Flatten(p)"
HALF = {"r": np.float32(0.5)}
ON, OFF = {"t": np.array(True)}, {"t": np.array(False)}
FIVE = np.full(3, 0.5, np.float32)


def found(body, opset=17, functions="", domains=(), **constants):
    model = tiny(body + ENDS, opset=opset, functions=functions, domains=domains, ir=10, **constants)
    loaded = load(model)
    return drawing_nodes(loaded, ["y"])


CERTAIN = {
    "Dropout in training": ("d = Dropout(x, r, t)", HALF | ON),
    "Dropout with its default ratio": ("d = Dropout(x, , t)", ON),
    "RandomNormal": ("d = RandomNormal<shape = [1, 3, 8, 8]>()", {}),
    "RandomNormalLike": ("d = RandomNormalLike(x)", {}),
    "RandomUniform": ("d = RandomUniform<shape = [1, 3, 8, 8]>()", {}),
    "RandomUniformLike": ("d = RandomUniformLike(x)", {}),
    "Bernoulli": ("s = Sigmoid(x) d = Bernoulli(s)", {}),
}


@pytest.mark.parametrize(("body", "constants"), CERTAIN.values(), ids=CERTAIN)
def test_nodes_that_draw_in_each_run(body, constants):
    nodes = found(body, **constants)
    assert [one.node for one in nodes.certain] == ["d"]
    assert not nodes.possible
    assert not nodes.of_batch


NEVER = {
    "Dropout in inference": ("d = Dropout(x, r, t)", HALF | OFF),
    "Dropout without a mode": ("d = Dropout(x, r)", HALF),
    "Dropout of nothing": ("d = Dropout(x, r, t)", {"r": np.float32(0)} | ON),
    "a draw of which only the size is read": (
        "n = RandomNormalLike(x) s = Shape(n) d = Reshape(x, s)",
        {},
    ),
    "a draw that the score does not read": ("n = RandomNormalLike(x) d = Relu(x)", {}),
    "an operator of ONNX Runtime": ("d = com.microsoft.QuickGelu(x)", {}),
}


@pytest.mark.parametrize(("body", "constants"), NEVER.values(), ids=NEVER)
def test_nodes_that_do_not_draw(body, constants):
    domains = ["com.microsoft"] if "microsoft" in body else []
    nodes = found(body, domains=domains, **constants)
    assert not (nodes.certain or nodes.possible or nodes.of_batch)


def test_an_old_dropout_is_in_inference():
    assert not found("d = Dropout<ratio = 0.5>(x)", opset=10).certain


def test_only_a_run_tells_of_a_computed_mode_and_an_unknown_operator():
    computed = "m = ReduceMax<keepdims = 0>(x) t = Greater(m, r) d = Dropout(x, r, t)"
    assert found(computed, **HALF).possible == [NamedNode("d", "Dropout")]
    assert found("d = other.Draw(x)", domains=["other"]).possible == [NamedNode("d", "Draw")]


def test_training_batch_normalization_is_of_the_batch():
    body = "d, m, v = BatchNormalization<training_mode = 1>(x, a, b, c, e)"
    nodes = found(body, a=FIVE, b=FIVE, c=FIVE, e=FIVE)
    assert nodes.of_batch == [NamedNode("d", "BatchNormalization")]
    assert not nodes.certain


BRANCHES = """d = If(c) <then_branch = a () => (float[N,3,8,8] o) { o = RandomNormalLike(x) },
                         else_branch = b () => (float[N,3,8,8] q) { q = Identity(x) }>"""


def test_subgraphs():
    drawn = [NamedNode("o", "RandomNormalLike")]
    assert found(BRANCHES, c=np.array(True)).certain == drawn
    taken = found(BRANCHES, c=np.array(False))
    assert not (taken.certain or taken.possible)
    computed = f"m = ReduceMax<keepdims = 0>(x) c = Greater(m, r) {BRANCHES}"
    nodes = found(computed, **HALF)
    assert (nodes.certain, nodes.possible) == ([], drawn)


def test_a_mode_that_is_a_constant_of_the_subgraph():
    body = """d = If(c) <then_branch = a () => (float[N,3,8,8] o)
                { t = Constant<value = bool {1}>() o = Dropout(x, r, t) },
               else_branch = b () => (float[N,3,8,8] q) { q = Identity(x) }>"""
    assert found(body, c=np.array(True), **HALF).certain == [NamedNode("o", "Dropout")]


def test_functions():
    function = '<domain: "f", opset_import: ["": 17]> Noisy (a) => (b) { b = RandomNormalLike(a) }'
    nodes = found("d = f.Noisy(x)", functions=function, domains=["f"])
    assert [one.op for one in nodes.certain] == ["RandomNormalLike"]


def test_long_lists_and_names_are_cut():
    many = [NamedNode("\x1b" * 1000, "D" * 1000)] * 1000
    text = listed(many)
    assert text.endswith("and 997 more")
    assert text.isprintable()
    assert len(text) < 250


@pytest.mark.parametrize("kind", ["nodes", "suspects"])
def test_sentences_are_at_most_500_characters(kind):
    worst = Randomness(**{kind: [NamedNode("n" * 1000, "D" * 1000)] * 1000})
    with pytest.raises(GradientError) as refused:
        worst.check_gradients("activation_maximization")
    assert len(str(refused.value)) <= 500
    assert len(worst.warning) <= 500
