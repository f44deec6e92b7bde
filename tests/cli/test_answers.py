"""Targets that depend on what the answer is, several outputs, and what `inspect` says."""

import json

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import helper
from tiny import tiny

HEADS = """p = GlobalAveragePool(x) color = Flatten(p) age = ReduceMean<axes=[1]>(color)
           eight = Constant<value_float=8.0>() one = Constant<value_float=1.0>()
           scaled = Mul(color, eight) shift = Sub(scaled, one) risk = Sigmoid(shift)"""


@pytest.fixture
def heads(tmp_path):
    """A model with the mean of all colors, and a sigmoid for each color."""
    path = tmp_path / "heads.onnx"
    proto = tiny(HEADS, "float[N,3,8,8] x", "float[N,1] age, float[N,3] risk")
    onnx.save(proto, path)
    settings = {"size": 8, "fit": "stretch", "interpolation": "nearest", "scale": 1 / 255}
    path.with_suffix(".onnxplain.json").write_text(json.dumps({"preprocess": settings}))
    return path


def test_cam_of_a_difference_is_saved(cli, model, picture, tmp_path):
    """The weights of a class are 1 for its color and 0 for the others, and the picture is red."""
    run = "run", model, picture, "-m", "cam", "-f", "npy", "-o", "maps"
    done = cli(*run, "-t", "1-0.5*0", "-t", "not:red fox")
    assert done.status == 0, done.err
    one, other = (np.load(path) for path in sorted(tmp_path.glob("maps/*.npy")))
    red = np.zeros((8, 8))
    red[2:5, 4:8] = 1
    assert_allclose(one, -0.5 * red)
    assert_allclose(other, -red)


def test_outputs_have_their_own_files(cli, heads, picture, tmp_path):
    run = "run", heads, picture, "-m", "input_x_gradient", "-o", "maps", "-f", "npy,json"
    assert cli(*run).status == 0
    found = cli(*run, "--output", "age", "--output", "risk")
    assert found.status == 0
    # Of 8 x 8 pixels, 12 are red.
    assert "red.png: age: output, output 0.0625 -> " in found.out
    assert "red.png: risk: 0, logit 0.5 -> " in found.out
    assert sorted(path.name for path in tmp_path.glob("maps/*.npy")) == [
        "red.input_x_gradient.age.output.npy",
        "red.input_x_gradient.output.npy",
        "red.input_x_gradient.risk.0.npy",
    ]
    lines = cli(*run, "--output", "risk", "--output", "age", "--json").out.splitlines()
    assert [json.loads(line)["target"]["output"] for line in lines] == ["risk", "age"]


def test_an_output_that_cannot_be_explained_does_not_stop_the_others(cli, heads, picture):
    """`age` is one number; each output is reported by itself, whatever the order."""
    run = "run", heads, picture, "-m", "input_x_gradient", "-o", "maps", "-f", "npy", "-t", "2 - 0"
    sentence = "output age: There is no '2': the answer is one number for each sample"
    for outputs in (("age", "risk"), ("risk", "age")):
        found = cli(*run, *(word for name in outputs for word in ("--output", name)))
        assert found.status == 2
        assert "red.png: risk: 2-0, difference of two logits -1.5 -> " in found.out
        assert f"Error: {sentence}" in found.err
    alone = cli(*run, "--output", "age")
    assert alone.status == 2
    assert "Error: There is no '2'" in alone.err


def test_an_error_of_one_picture_names_the_output(cli, heads, picture):
    outputs = "--output", "risk", "--output", "age"
    found = cli("run", heads, picture, "-m", "input_x_gradient", "-t", "p>0.99", *outputs)
    assert found.status == 2
    assert f"Error: output risk: {picture}: No class has p>0.99" in found.err


def test_drawings_of_several_outputs_have_their_own_files(cli, heads, picture, tmp_path):
    for output in ("age", "risk"):
        shown = (
            "compare",
            heads,
            picture,
            "--methods",
            "occlusion",
            "--output",
            output,
            "-o",
            "maps",
        )
        assert cli(*shown).status == 0
    assert sorted(path.name for path in tmp_path.glob("maps/*.compare.*")) == [
        "red.compare.age.png",
        "red.compare.risk.png",
    ]


def test_commands_for_one_output_say_so(cli, heads, picture):
    outputs = "--output", "age", "--output", "risk"
    for command in (("inspect", heads), ("compare", heads, picture, "--methods", "occlusion")):
        sentence = cli(*command, *outputs).sentence
        assert sentence == "This command explains one output: give --output only once."


def test_a_picture_without_a_class_above_the_threshold(cli, heads, paint):
    for name, rows in (("a", slice(2, 5)), ("b", slice(0, 0)), ("c", slice(2, 8))):
        paint(f"pictures/{name}.png", rows)
    run = "run", heads, "pictures", "-m", "input_x_gradient", "--output", "risk", "-o", "maps"
    found = cli(*run, "-t", "p>0.6")
    assert found.status == 2
    # Where nothing is red, every logit is -1.
    assert (
        "Error: pictures/b.png: No class has p>0.6: the largest probability is 0.269, of class 0; "
        "lower the threshold, or use --target top1.\n"
    ) in found.err
    assert [line.split(",")[0] for line in found.out.splitlines()] == [
        "pictures/a.png: risk: 0",
        "pictures/c.png: risk: 0",
    ]


def test_a_class_that_is_predicted_nowhere_does_not_end_the_run(cli, build, paint):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Softmax", ["c"], ["y"], axis=1),
    ]
    path = build(nodes, output=("N", 3, 8, 8))
    for name in "ab":
        paint(f"pictures/{name}.png")
    found = cli("run", path, "pictures", "-m", "gradient", "-t", "green snake")
    assert found.status == 2
    for name in "ab":
        assert f"pictures/{name}.png: Class 1 (green snake) is predicted nowhere" in found.err


def test_inspect_says_what_the_answer_is(cli, heads):
    facts = json.loads(cli("inspect", heads, "--json").out)["answer"]
    assert facts == {
        "kind": "number",
        "words": "one number for each sample, which belongs to no class",
        "targets": ["output"],
        "output": "age",
        "other_outputs": ["risk"],
    }
    text = cli("inspect", heads, "--output", "risk").out
    assert "answer      risk: a score for each of 3 classes\n" in text
    assert "--target    top1; 0; LABEL; all; p>0.5; expected; 0-1; not:0\n" in text
    assert "--output    age, instead of risk\n" in text


def test_inspect_says_that_an_answer_has_no_batch_axis(cli, build):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Transpose", ["f"], ["y"]),
    ]
    text = cli("inspect", build(nodes, output=(3, "N"), weights=())).out
    assert "first axis does not hold the samples" in text
