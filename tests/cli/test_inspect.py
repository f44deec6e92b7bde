import hashlib
import json
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import helper
from tiny import noise, tiny

PYRAMID = [
    helper.make_node("Conv", ["x", "w"], ["planes"], "conv"),
    helper.make_node("Relu", ["planes"], ["active"], "relu"),
    helper.make_node("MaxPool", ["active"], ["small"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("GlobalAveragePool", ["small"], ["pooled"], "mean"),
    helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
    helper.make_node("Softmax", ["flat"], ["y"], "softmax"),
]


def head(planes):
    """The last nodes of a model that ends in the mean of each plane."""
    return [
        helper.make_node("GlobalAveragePool", [planes], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]


def add_domain(path, domain):
    proto = onnx.load(path)
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(proto, path)


def facts(outcome):
    assert (outcome.status, outcome.err) == (0, "")
    return json.loads(outcome.out)


def test_json_holds_what_is_known(cli, build):
    path = build(PYRAMID, shape=(1, 3, 8, 8), output=(1, 3))
    proto = onnx.load(path)
    proto.producer_name, proto.producer_version = "trainer", "2.1"
    helper.set_model_props(proto, {"task": "colors"})
    onnx.save(proto, path)
    found = facts(cli("inspect", path, "--json"))
    assert found["model"] == {
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "ir_version": 8,
        "opsets": {"ai.onnx": 17},
        "producer": "trainer 2.1",
        "nodes": 6,
        "metadata": {"task": "colors"},
    }
    assert found["inputs"] == [
        {"name": "x", "dtype": "float32", "shape": [1, 3, 8, 8], "explained": True}
    ]
    assert found["outputs"] == [{"name": "y", "dtype": "float32", "shape": [1, 3], "score": True}]
    assert found["score"] == {"logit": "flat", "probability": "y", "activation": "softmax"}
    assert found["preprocess"]["origin"] == "sidecar model.onnxplain.json"
    assert found["labels"]["names"][1] == "green snake"
    assert found["batch"] == {
        "fixed": 1,
        "runs": "in batches, the fixed batch of 1 rewritten",
        "provider": "CPUExecutionProvider",
    }
    assert found["gradients"] == {
        "complete": True,
        "missing": [],
        "cut_off_by": [],
        "target": "flat",
    }
    assert found["cam"] == {"layer": "small", "pooling": "average"}
    assert [(layer["tensor"], layer["grid"], layer["auto"]) for layer in found["layers"]] == [
        ("active", [8, 8], False),
        ("small", [4, 4], True),
    ]


def test_all_lists_every_layer(cli, build):
    found = facts(cli("inspect", build(PYRAMID), "--all", "--json"))
    assert [layer["tensor"] for layer in found["layers"]] == ["planes", "active", "small"]


def test_a_layer_that_part_of_the_picture_goes_around_is_listed_with_all_only(cli, build):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["planes"]),
        helper.make_node("MaxPool", ["planes"], ["aside"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["planes"], ["mean"]),
        helper.make_node("GlobalAveragePool", ["aside"], ["more"]),
        helper.make_node("Add", ["mean", "more"], ["sum"]),
        helper.make_node("Flatten", ["sum"], ["y"]),
    ]
    path = build(nodes)
    for flags, tensors in ([], ["planes"]), (["--all"], ["planes", "aside"]):
        found = facts(cli("inspect", path, "--json", *flags))
        assert [layer["tensor"] for layer in found["layers"]] == tensors


def test_text_says_the_same_on_lines(cli, build):
    lines = cli("inspect", build(PYRAMID), "--size", "8x8").out.splitlines()
    found = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.strip()}
    assert found["format"] == "IR 8, opset ai.onnx 17, 6 nodes"
    assert found["input"] == "x float32 (N, 3, 8, 8), explained"
    assert found["output"] == "y float32 (N, 3), scores"
    assert found["score"] == "flat, before a final softmax"
    assert found["preprocess"].startswith("size 8 x 8, layout NCHW, channels RGB, fit stretch")
    assert found["preprocess"].endswith("(sidecar model.onnxplain.json, size from flags)")
    assert found["labels"].startswith("3 (sidecar model.onnxplain.json): red fox, Vulpes vulpes; ")
    assert found["batch"] == "declared any number; runs in batches (CPUExecutionProvider)"
    assert found["gradients"] == "every operator between input and score has one"
    assert found["cam"] == "applicable: average pooling of small"
    assert found["small"] == "MaxPool 3 4 x 4 auto"


def test_what_cannot_be_had_is_a_sentence_in_its_place(cli, build):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "odd")]
    vectors = {"weights": (), "sidecar": False, "shape": ("N", 10), "output": ("N", 10)}
    path = build(nodes, **vectors)
    found = facts(cli("inspect", path, "--json"))
    assert "is no picture" in found["preprocess"]["problem"]
    assert "Relu 'odd' stands between" in found["cam"]["problem"]
    assert (found["labels"], found["layers"]) == (None, [])
    text = cli("inspect", path).out
    assert "none: give them with --labels FILE" in text
    assert "No layer has rows and columns of more than one cell." in text


def test_boxes_of_an_unknown_layout_are_told(cli, tmp_path):
    """Without the number of classes it is not known whether a DETR's last one is the background."""
    made = tiny(
        """p = GlobalAveragePool(x) f = Reshape(p, row) two = Concat<axis=1>(f, f)
        boxes = MatMul(two, w) pred_boxes = Sigmoid(boxes) logits = MatMul(two, w)""",
        "float[1,3,8,8] x",
        "float[1,2,4] logits, float[1,2,4] pred_boxes",
        row=np.array([1, 1, 3]),
        w=noise(3, 4),
    )
    made.metadata_props.add(key="task", value="detect")
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    problem = facts(cli("inspect", path, "--json"))["boxes"]["problem"]
    assert "name their layout with --boxes" in problem
    assert "detr if the last class is the background" in problem
    assert facts(cli("inspect", path, "--json", "--boxes", "detr"))["boxes"]["layout"] == "detr"
    cut = facts(cli("inspect", path, "--json", "--output", "p"))
    assert cut["boxes"] is None


def test_a_model_that_onnx_runtime_refuses_is_shown_as_far_as_it_can_be(cli, build):
    path = build([helper.make_node("Konv", ["x", "w"], ["y"])], output=("N", 3, 8, 8))
    found = facts(cli("inspect", path, "--json"))
    assert found["inputs"][0]["shape"] == ["N", 3, 8, 8]
    assert "No Op registered for Konv" in found["batch"]["problem"]
    assert "No Op registered for Konv" in cli("inspect", path).out


def gradients(cli, path):
    """What is reported about them: for programs, and as text on one line."""
    text = cli("inspect", path).out
    (line,) = (line for line in text.splitlines() if line.startswith("gradients "))
    return facts(cli("inspect", path, "--json"))["gradients"], " ".join(line.split()[1:])


def test_operators_without_a_gradient_are_named_with_their_nodes(cli, build):
    names = ["first", "second", "third", "fourth"]
    ways = ["planes", *names]
    nodes = [helper.make_node("Conv", ["x", "w"], ["planes"])]
    nodes += [
        helper.make_node("Strange", [before], [after], after, domain="com.example")
        for before, after in pairwise(ways)
    ]
    path = build([*nodes, *head("fourth")])
    add_domain(path, "com.example")
    known, text = gradients(cli, path)
    op = "com.example::Strange"
    assert known == {
        "complete": False,
        "missing": [{"node": name, "op": op, "reason": None} for name in names],
        "cut_off_by": [],
        "target": "y",
    }
    assert text == f"none for {op} 'first', 'second', 'third' and 1 more"


def test_a_score_that_is_cut_off_is_told_with_the_tensor_to_explain_instead(cli, build):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["planes"]),
        helper.make_node("ArgMax", ["planes"], ["classes"], "decide", axis=1),
        helper.make_node("Cast", ["classes"], ["y"], to=1),
    ]
    known, text = gradients(cli, build(nodes, output=("N", 1, 8, 8)))
    assert known == {
        "complete": False,
        "missing": [],
        "cut_off_by": [{"node": "decide", "op": "ArgMax", "reason": None}],
        "target": "planes",
    }
    assert text == "zero everywhere after ArgMax 'decide': explain 'planes' instead, with --output"


@pytest.mark.parametrize(
    ("op", "opset", "sentence"),
    [
        ("Conv", 6, "The model has opset 6, and gradients need 7 or newer"),
        ("Strange", 17, "The types of the model's tensors cannot be inferred: "),
    ],
    ids=["too old", "of a domain that is not imported"],
)
def test_a_model_that_has_no_gradients_says_so_in_their_place(cli, build, op, opset, sentence):
    domain = "" if op == "Conv" else "com.example"
    nodes = [helper.make_node(op, ["x", "w"], ["planes"], domain=domain), *head("planes")]
    path = build(nodes, opset=opset)
    assert facts(cli("inspect", path, "--json"))["gradients"]["problem"].startswith(sentence)
    assert f"gradients   {sentence}" in cli("inspect", path).out


@pytest.mark.parametrize("flag", ["--output", "--explain"])
def test_names_that_do_not_exist_are_refused(cli, model, flag):
    outcome = cli("inspect", model, flag, "z")
    assert outcome.status == 2
    assert "no " in outcome.sentence


def test_hundreds_of_nodes_without_a_gradient_are_counted(cli, tmp_path):
    """No rank is known after an operator without a shape function, and each Gather needs it."""
    steps = [f"x{i} = Gather<axis=-1>(x{i - 1}, columns)" for i in range(1, 301)]
    body = " ".join(["x0 = com.example.Strange(x)", *steps, "y = Flatten(x300)"])
    columns = np.arange(8)
    model = tiny(body, "float[1,3,8,8] x", domains=["com.example"], columns=columns)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    known, text = gradients(cli, path)
    assert len(known["missing"]) == 301
    assert text.startswith("none for com.example::Strange")
    assert text.endswith("and 298 more nodes")
    assert len(text) < 500
