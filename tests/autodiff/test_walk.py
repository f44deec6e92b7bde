"""The walk: accumulation, broadcasting, what is emitted, and what is refused."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

from onnxplain.autodiff.differentiate import GRADIENT, SEED, differentiate
from onnxplain.autodiff.rules import STANDARD
from onnxplain.errors import GradientError
from onnxplain.model.load import load


def model(body, inputs="float[N,3] x", output="float[N,3] y", weights=""):
    opsets = '["" : 18, "com.example" : 1]'
    text = (
        f"<ir_version: 8, opset_import: {opsets}> g ({inputs}) => ({output}) {weights} {{ {body} }}"
    )
    return load(parser.parse_model(text))


def run(proto, feeds):
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def test_a_tensor_read_twice_collects_both_gradients():
    # y = x² + 3x, dy/dx = 2x + 3
    graph = model(
        "three = Constant<value_float=3.0>() a = Mul(x, x) b = Mul(x, three) y = Add(a, b)"
    )
    x = np.array([[1.0, -2.0, 0.5]], np.float32)
    (gradient,) = run(differentiate(graph, "y", ["x"]).proto, {"x": x, SEED: np.ones_like(x)})
    np.testing.assert_allclose(gradient, 2 * x + 3)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [("3", (0,)), ("1,3", (0,)), ("N,1", (1,)), ("1,1", (0, 1)), ("", (0, 1))],
    ids=["vector", "row", "column", "one", "scalar"],
)
def test_broadcasting_is_undone_where_the_batch_is_dynamic(shape, axes):
    # y = x + w repeats w, so its gradient is the seed summed over the repeated axes.
    graph = model("y = Add(x, w)", inputs=f"float[N,3] x, float[{shape}] w")
    sizes = [4 if dim == "N" else int(dim) for dim in shape.split(",") if dim]
    seed = np.arange(12, dtype=np.float32).reshape(4, 3)
    feeds = {"x": np.zeros((4, 3), np.float32), "w": np.zeros(sizes, np.float32), SEED: seed}
    feeds = {k: v for k, v in feeds.items() if k in (SEED, "w", "x")}
    gradients = differentiate(graph, "y", ["w"], ["y"])
    (_, gradient) = run(gradients.proto, feeds)
    np.testing.assert_allclose(gradient, seed.sum(axis=axes, keepdims=True).reshape(sizes))


def test_broadcasting_is_undone_where_no_size_is_known():
    graph = model("y = Mul(x, w)", inputs="float[a,b] x, float[c,d] w", output="float[e,f] y")
    x, w = np.full((4, 3), 2, np.float32), np.ones((4, 1), np.float32)
    (gradient,) = run(
        differentiate(graph, "y", ["w"]).proto, {"x": x, "w": w, SEED: np.ones_like(x)}
    )
    np.testing.assert_allclose(gradient, np.full((4, 1), 6))


def test_inner_tensors_and_inputs_in_one_go_and_outputs_untouched():
    graph = model("a = Tanh(x) y = Mul(a, a)")
    result = differentiate(graph, "y", ["a", "x"], ["y"])
    onnx.checker.check_model(result.proto, full_check=True)
    assert [o.name for o in result.proto.graph.output] == ["y", GRADIENT + "a", GRADIENT + "x"]
    x = np.array([[0.3, -1.0, 2.0]], np.float32)
    y, da, dx = run(result.proto, {"x": x, SEED: np.ones_like(x)})
    np.testing.assert_array_equal(y, run(graph.proto, {"x": x})[0])
    np.testing.assert_allclose(da, 2 * np.tanh(x), rtol=1e-6)
    np.testing.assert_allclose(dx, 2 * np.tanh(x) * (1 - np.tanh(x) ** 2), rtol=1e-5)


def test_the_original_nodes_stay_and_new_names_have_one_prefix():
    graph = model("a = Tanh(x) y = Mul(a, a)")
    result = differentiate(graph, "y", ["x"], ["y"]).proto
    original = [node.SerializeToString() for node in graph.proto.graph.node]
    assert [node.SerializeToString() for node in result.graph.node][:2] == original
    assert all(
        name.startswith("onnxplain/")
        for node in list(result.graph.node)[2:]
        for name in node.output
    )


def test_gradients_that_nobody_asked_for_are_not_emitted():
    weights = "<float[3,3] w = {1,2,3,4,5,6,7,8,9}>"
    graph = model("y = Mul(x, w)", inputs="float[3,3] x", output="float[3,3] y", weights=weights)
    result = differentiate(graph, "y", ["x"]).proto
    assert sum(node.op_type == "Mul" for node in result.graph.node) == 1


def test_a_gradient_in_a_batch_equals_the_gradients_one_by_one():
    graph = model("a = Sigmoid(x) y = Mul(a, x)")
    session = differentiate(graph, "y", ["x"]).proto
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    seed = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 0]]
    (together,) = run(session, {"x": x, SEED: seed})
    single = [run(session, {"x": x[i : i + 1], SEED: seed[i : i + 1]})[0] for i in range(5)]
    np.testing.assert_allclose(together, np.concatenate(single), rtol=1e-6)


def test_a_rule_can_be_replaced_for_one_walk():
    # Guided backpropagation: pass the gradient where it and the input are positive.
    def guided(g, s, dy):
        return g.Relu(g.where(g.Greater(s.x, np.float32(0)), dy))

    graph = model("y = Relu(x)")
    x, seed = np.array([[1, 2, -1]], np.float32), np.array([[1, -1, 1]], np.float32)
    feeds = {"x": x, SEED: seed}
    replaced = differentiate(graph, "y", ["x"], rules=STANDARD.replaced({"Relu": guided}))
    np.testing.assert_array_equal(run(replaced.proto, feeds)[0], [[1, 0, 0]])
    np.testing.assert_array_equal(
        run(differentiate(graph, "y", ["x"]).proto, feeds)[0], [[1, -1, 0]]
    )


def test_relu_passes_nothing_at_zero():
    feeds = {"x": np.zeros((1, 3), np.float32), SEED: np.ones((1, 3), np.float32)}
    (gradient,) = run(differentiate(model("y = Relu(x)"), "y", ["x"]).proto, feeds)
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))


def test_an_operator_without_a_rule_is_named_with_its_node():
    graph = model("a = Tanh(x) y = com.example.Strange(a)")
    graph.proto.graph.node[1].name = "odd"
    with pytest.raises(GradientError, match=r"com\.example::Strange of node 'odd'"):
        differentiate(graph, "y", ["x"])


def test_a_node_without_a_name_goes_by_what_it_makes():
    graph = model("a = Tanh(x) y = com.example.Strange(a)")
    graph.proto.graph.node[1].name = ""
    with pytest.raises(GradientError, match=r"com\.example::Strange of node 'y'"):
        differentiate(graph, "y", ["x"])


def test_an_operator_without_a_rule_off_the_way_does_not_matter():
    graph = model(
        "s = com.example.Strange(z) a = Mul(x, x) y = Add(a, s)",
        inputs="float[N,3] x, float[N,3] z",
    )
    assert differentiate(graph, "y", ["x"])


CUTS = {
    "Round": "b = Round(a) y = Mul(b, b)",
    "Cast": "i = Cast<to=7>(a) b = Cast<to=1>(i) y = Mul(b, b)",
    "ArgMax": "i = ArgMax<axis=1>(a) b = Cast<to=1>(i) y = Mul(b, z)",
    "ArgMin": "i = ArgMin<axis=1, keepdims=0>(a) y = Gather(z, i)",
    "TopK": "k = Constant<value_ints=[3]>() v, i = TopK(a, k) b = Cast<to=1>(i) y = Mul(b, z)",
    "Greater": "c = Greater(a, z) y = Where(c, z, w)",
    "Shape": "i = Shape<start=1>(a) b = Cast<to=1>(i) y = Mul(b, z)",
    "Multinomial": "i = Multinomial<sample_size=3>(a) b = Cast<to=1>(i) y = Mul(b, z)",
}
"""Nodes that turn the tensor a into integers, or steps, on the only path to the score."""


@pytest.mark.parametrize("op", CUTS)
def test_a_score_that_is_cut_off_names_the_operator_and_what_to_explain(op):
    inputs = "float[N,3] x, float[N,3] z, float[N,3] w"
    graph = model("a = Tanh(x) " + CUTS[op], inputs)
    with pytest.raises(GradientError, match=f"cut off from 'x' by {op} '.*explain 'a', the tensor"):
        differentiate(graph, "y", ["x"])


def test_behind_one_cut_others_do_not_matter_and_sizes_do_not_beside_one():
    graph = model(
        "a = Tanh(x) b = Floor(a) c = Round(b) s = Shape(x) t = Reshape(c, s) y = Mul(t, t)"
    )
    with pytest.raises(GradientError, match=r"cut off from 'x' by Round '[^,]*', whose.*ain 'b'"):
        differentiate(graph, "y", ["x"])


def test_a_tensor_that_is_cut_off_itself_is_not_proposed():
    graph = model("a = Ceil(x) y = Mul(a, a)")
    with pytest.raises(GradientError, match=r"by Ceil .* everywhere: use a method without"):
        differentiate(graph, "y", ["x"])


def test_a_score_that_does_not_depend_on_the_tensor_says_so():
    graph = model("y = Mul(z, z)", inputs="float[N,3] x, float[N,3] z")
    with pytest.raises(GradientError, match="'y' does not depend on 'x'"):
        differentiate(graph, "y", ["x"])


def test_a_model_that_computes_gradients_is_not_differentiated_again():
    once = differentiate(model("y = Tanh(x)"), "y", ["x"], ["y"])
    with pytest.raises(GradientError, match="computes gradients already"):
        differentiate(once, "y", ["x"])
