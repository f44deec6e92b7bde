"""Models, and files beside them, that are damaged or made to do harm: each is one sentence."""

import json

import numpy as np
import onnx
import pytest
from cli.conftest import SIDECAR
from onnx import TensorProto, helper, numpy_helper

from onnxplain import Explainer
from onnxplain.errors import LONGEST, OnnxplainError

SIZES = ("N", 3, 8, 8)
TENSOR = helper.make_tensor_type_proto(TensorProto.FLOAT, SIZES)


def typed(name, type_):
    return onnx.ValueInfoProto(name=name, type=type_)


def set_opset(version):
    return lambda model: setattr(model.opset_import[0], "version", version)


def add_opset(version):
    def change(model):
        model.opset_import.append(helper.make_opsetid("com.microsoft", version))

    return change


def set_input(type_):
    return lambda model: model.graph.input[0].CopyFrom(typed("x", type_))


def add_input(type_):
    return lambda model: model.graph.input.append(typed("z", type_))


def set_element(part, number):
    def change(model):
        getattr(model.graph, part)[0].type.tensor_type.elem_type = number

    return change


def set_weight(**fields):
    def change(model):
        weight = model.graph.initializer[0]
        for name, value in fields.items():
            weight.ClearField(name)
            if isinstance(value, list):
                getattr(weight, name).extend(value)
            else:
                setattr(weight, name, value)

    return change


def without_an_input(model):
    del model.graph.node[0].input[1]


def wrong_attribute(model):
    model.graph.node[0].attribute.append(helper.make_attribute("group", "one"))


def attribute_of_no_function(model):
    group = onnx.AttributeProto(name="group", ref_attr_name="groups", type="INT")
    model.graph.node[0].attribute.append(group)


def without_an_attribute(model):
    model.graph.node.append(helper.make_node("Cast", ["x"], ["z"], "cast"))


def set_batch(*sizes):
    def change(model):
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes))

    return change


def texts_as_weights(model):
    model.graph.initializer[0].CopyFrom(
        helper.make_tensor("w", TensorProto.STRING, [3, 3, 1, 1], [b"a"] * 8 + [b"\xff"])
    )
    del model.graph.initializer[0].string_data[0]


def damaged_constant(model):
    value = TensorProto(data_type=TensorProto.INT64, dims=[2], raw_data=b"123")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["sizes"], value=value))


def an_empty_input(model):
    model.graph.node[0].input[0] = ""


def no_operator_set(model):
    del model.opset_import[:]


def a_cast_to_no_type(model):
    model.graph.node[0].input[0] = "cast"
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["cast"], "cast", to=0))


def add_mean(**attributes):
    axes = numpy_helper.from_array(np.array([2, 3, 2]), "axes")

    def change(model):
        inputs = ["x"] if attributes else ["x", "axes"]
        model.opset_import[0].version = 17 if attributes else 18
        model.graph.initializer.append(axes)
        model.graph.node.append(helper.make_node("ReduceMean", inputs, ["m"], "mean", **attributes))

    return change


def no_hidden_size(model):
    model.graph.node.append(helper.make_node("RNN", ["x", "w", "w"], ["r"], "rnn"))


def no_such_output(model):
    model.graph.output[0].name = "gone"


def no_input(model):
    """Of an operator of ONNX Runtime, of which ONNX has no definition."""
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    node = helper.make_node("QuickGelu", [], ["fast"], "fast", domain="com.microsoft")
    model.graph.node.append(node)


def two_sources(model):
    model.graph.node.append(helper.make_node("Relu", ["x"], ["planes"], "again"))


def a_weight_that_is_computed(model):
    model.graph.node.append(helper.make_node("Relu", ["x"], ["w"], "again"))


def a_function_without_an_attribute(model):
    opsets = [helper.make_opsetid("", 17)]
    cast = helper.make_node("Cast", ["a"], ["b"], "cast")
    model.functions.append(helper.make_function("mine", "f", ["a"], ["b"], [cast], opsets))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node.append(helper.make_node("f", ["x"], ["z"], "call", domain="mine"))


def rename(name):
    """A name that is not UTF-8, which protobuf lets nobody set."""
    return lambda model: model.SerializeToString().replace(name, b"\xff" + name[1:])


MODELS = {
    "opset -1": (set_opset(-1), "version -1 of the operators of ai.onnx"),
    "opset 0": (set_opset(0), "version 0 of the operators of ai.onnx"),
    "opset 2^40": (set_opset(2**40), "version 1099511627776 of the operators"),
    "another opset 2^40": (add_opset(2**40), "of the operators of com.microsoft"),
    "a sequence": (set_input(helper.make_sequence_type_proto(TENSOR)), "a sequence of tensors"),
    "an optional": (set_input(helper.make_optional_type_proto(TENSOR)), "an optional value"),
    "no type": (set_input(onnx.TypeProto()), "'x' is no type"),
    "a second sequence": (add_input(helper.make_sequence_type_proto(TENSOR)), "'z' is a sequence"),
    "input type 99": (set_element("input", 99), "'x' has the element type 99"),
    "input type 0": (set_element("input", 0), "'x' has the element type 0"),
    "output type 99": (set_element("output", 99), "'y' has the element type 99"),
    "a text as input": (set_element("input", TensorProto.STRING), "'x' takes texts, not numbers"),
    "complex numbers as input": (
        set_element("input", TensorProto.COMPLEX64),
        "'x' takes complex numbers",
    ),
    "weight type 99": (set_weight(data_type=99), "'w' has the element type 99"),
    "weight type 0": (set_weight(data_type=0), "'w' has the element type 0"),
    "texts as weights": (texts_as_weights, "needs 9 numbers and has 8"),
    "short bytes": (set_weight(raw_data=b"123"), "needs 36 bytes and has 3"),
    "float16 of 4 bytes": (set_weight(data_type=10), "needs 18 bytes and has 36"),
    "huge sizes": (set_weight(dims=[2**62, 3, 3, 3]), "bytes and has 36: the file is damaged"),
    "a negative size": (set_weight(dims=[-1, 3, 1, 1]), "a negative size, -1"),
    "a damaged constant": (damaged_constant, "needs 16 bytes and has 3"),
    "a missing input": (without_an_input, "'conv' (Conv) has 1 inputs"),
    "an attribute of a wrong type": (wrong_attribute, "for its attribute 'group'"),
    "an attribute of no function": (attribute_of_no_function, "from a function, and is in none"),
    "a missing attribute": (without_an_attribute, "lacks its attribute 'to'"),
    "an empty input": (an_empty_input, "'conv' (Conv) lacks its input 'X'"),
    "no input": (no_input, "'fast' (QuickGelu) lacks its first input"),
    "an axis twice": (add_mean(axes=[1, 1]), "'mean' (ReduceMean) has an axis twice, [1, 1]"),
    "a weight with an axis twice": (add_mean(), "has an axis twice, [2, 3, 2]"),
    "no hidden size": (no_hidden_size, "'rnn' (RNN) lacks its attribute 'hidden_size'"),
    "an output of no node": (no_such_output, "The output 'gone' is computed by no node"),
    "no operator set": (no_operator_set, "does not say which version of the operators of ai.onnx"),
    "a tensor of two nodes": (two_sources, "'planes' has several sources"),
    "a weight that is computed": (a_weight_that_is_computed, "'w' has several sources"),
    "a function": (a_function_without_an_attribute, "'cast' (Cast) lacks its attribute 'to'"),
    "2^31 samples": (set_batch(2**31, 3, 8, 8), "more than fits in memory"),
    "2^62 rows": (set_batch("N", 3, 2**62, 2**62), "more than fits in memory"),
    "an input name": (rename(b"xx_xx"), "not UTF-8"),
    "a tensor name": (rename(b"planes"), "not UTF-8"),
    "an operator": (rename(b"GlobalAveragePool"), "not UTF-8"),
    "the name of the graph": (rename(b"test"), "not UTF-8"),
}


@pytest.mark.parametrize("command", ["run", "inspect"])
@pytest.mark.parametrize("name", MODELS)
def test_a_damaged_model(cli, build, picture, name, command):
    change, words = MODELS[name]
    path = build()
    model = onnx.load(path)
    if name == "an input name":
        model.graph.input[0].name = model.graph.node[0].input[0] = "xx_xx"
    changed = change(model)
    path.write_bytes(changed if isinstance(changed, bytes) else model.SerializeToString())
    outcome = cli(command, path, *([picture] if command == "run" else []))
    assert outcome.status == 2
    assert words in outcome.sentence
    with pytest.raises(OnnxplainError) as caught:
        Explainer(path).explain(picture)
    assert words in str(caught.value)


def test_a_cast_to_no_type(cli, build, picture):
    """`inspect` says it among what it shows."""
    path = build()
    model = onnx.load(path)
    a_cast_to_no_type(model)
    onnx.save(model, path)
    outcome = cli("run", path, picture)
    assert outcome.status == 2
    assert "refuses" in outcome.sentence
    assert cli("inspect", path).status == 0


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_a_second_output_that_is_a_sequence(cli, build, picture, command):
    path = build()
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("SequenceConstruct", ["planes"], ["s"]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None))
    onnx.save(model, path)
    assert cli(command, path, *([picture] if command == "run" else [])).status == 0
    refused = cli(command, path, *([picture] if command == "run" else []), "--output", "s")
    assert refused.status == 2
    assert "The output 's' is no tensor" in refused.sentence


def test_a_text_for_a_second_input(cli, build, picture):
    path = build()
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.STRING, (1,)))
    onnx.save(model, path)
    outcome = cli("run", path, picture, "--input", "z=3", "-m", "occlusion")
    assert outcome.status == 2
    assert "The input 'z' takes texts" in outcome.sentence


def test_an_input_of_declared_size_0_is_open(cli, build, picture):
    """Some converters write 0 for an open size."""
    path = build(shape=("N", 0, 8, 8))
    assert cli("inspect", path).status == 0


def test_weights_of_every_type_pass(cli, build):
    path = build()
    model = onnx.load(path)
    for name, number in TensorProto.DataType.items():
        if name in ("UNDEFINED", "STRING"):
            continue
        dtype = helper.tensor_dtype_to_np_dtype(number)
        tensor = numpy_helper.from_array(np.ones((3, 5), dtype), name)
        model.graph.initializer.append(tensor)
        held = [1.0] * 15
        model.graph.initializer.append(
            helper.make_tensor(f"{name} as numbers", number, [3, 5], held)
        )
    onnx.save(model, path)
    assert cli("inspect", path).status == 0


DEEP = "[" * 100_000 + "]" * 100_000
DIGITS = "9" * 400
MANY_DIGITS = "9" * 5000
LONG = "x" * 140_000
FILES = {
    "deep": ("sidecar", DEEP, "nested too deep"),
    "deep preprocessing": ("sidecar", f'{{"preprocess": {DEEP}}}', "nested too deep"),
    "a deep configuration": ("config.json", DEEP, "nested too deep"),
    "a deep preprocessor": ("preprocessor_config.json", DEEP, "nested too deep"),
    "5,000 digits": ("sidecar", f'{{"note": {MANY_DIGITS}}}', "too many digits"),
    "400 digits": ("sidecar", f'{{"preprocess": {{"scale": {DIGITS}}}}}', "expected a number"),
    "400 digits in a list": ("sidecar", f'{{"preprocess": {{"mean": [{DIGITS}]}}}}', "expected a"),
    "a size of 400 digits": (
        "sidecar",
        f'{{"preprocess": {{"size": {DIGITS}}}}}',
        "expected a side",
    ),
    "a size without end": ("sidecar", '{"preprocess": {"size": 1e999}}', "expected a side"),
    "a multiple without end": ("sidecar", '{"preprocess": {"multiple": 1e999}}', "a whole number"),
    "half a character": ("sidecar", r'{"labels": ["\ud800", "b", "c"]}', "half of a character"),
    "half in a layout": ("sidecar", r'{"preprocess": {"layout": "\udfff"}}', "half of a character"),
    "no path": ("sidecar", r'{"labels": "a\u0000"}', "outside its folder"),
    "a number for names": ("config.json", '{"label_names": 3}', "neither a list of names"),
    "names of numbers": ("config.json", '{"label_names": [1, [2], {}]}', "neither a list of names"),
    "an endless mean": (
        "preprocessor_config.json",
        f'{{"size": {{"height": 8, "width": 8}}, "image_mean": {DIGITS}, "image_std": 1}}',
        "cannot be used (OverflowError",
    ),
    "a long word": ("sidecar", f'{{"preprocess": {{"layout": "{LONG}"}}}}', "XX...XX"),
}


@pytest.mark.parametrize("command", ["run", "inspect"])
@pytest.mark.parametrize("case", FILES)
def test_a_damaged_file_beside_the_model(cli, build, picture, tmp_path, case, command):
    file, content, words = FILES[case]
    path = build(sidecar=False)
    if file != "sidecar":
        preprocess = {"preprocess": {"size": 8}} if file == "config.json" else {}
        path.with_suffix(".onnxplain.json").write_text(json.dumps(preprocess))
    (path.with_suffix(".onnxplain.json") if file == "sidecar" else tmp_path / file).write_text(
        content
    )
    outcome = cli(command, path, *([picture] if command == "run" else []))
    said = outcome.err + outcome.out
    assert words in said
    assert "Internal error" not in said
    assert max(map(len, outcome.err.splitlines()), default=0) <= LONGEST + len("Error: ")
    assert not list(tmp_path.glob("onnxplain-out/*"))
    if command == "run":
        assert outcome.status == 2
        assert sum(line.startswith("Error: ") for line in outcome.err.splitlines()) == 1


def test_descriptions_that_are_no_object_are_not_used(cli, build, picture, tmp_path):
    path = build(sidecar=False)
    path.with_suffix(".onnxplain.json").write_text(
        json.dumps({"preprocess": SIDECAR["preprocess"]})
    )
    (tmp_path / "config.json").write_text(
        '{"label_names": ["fox", "b", "c"], "label_descriptions": ["x"]}'
    )
    assert "0 fox" in cli("run", path, picture).out


def test_half_a_character_in_names_of_the_metadata(cli, build, picture, tmp_path):
    path = build(sidecar=False)
    path.with_suffix(".onnxplain.json").write_text(
        json.dumps({"preprocess": SIDECAR["preprocess"]})
    )
    model = onnx.load(path)
    helper.set_model_props(model, {"names": r"{0: '\ud800', 1: 'b', 2: 'c'}", "stride": "32"})
    onnx.save(model, path)
    outcome = cli("run", path, picture)
    assert outcome.status == 2
    assert "hold only half of a character" in outcome.sentence
    assert not list(tmp_path.glob("onnxplain-out/*"))


def test_an_operator_with_a_name_of_140_000_characters(cli, build, picture):
    nodes = [
        helper.make_node("Konv", ["x", "w"], ["planes"], "q" * 140_000),
        helper.make_node("Flatten", ["planes"], ["y"]),
    ]
    outcome = cli("run", build(nodes), picture, "-m", "occlusion")
    assert outcome.status == 2
    assert len(outcome.sentence) <= LONGEST
    assert "refuses" in outcome.sentence
    assert outcome.sentence.endswith("a lower opset.")
