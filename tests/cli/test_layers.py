"""Layers, and options that are switches, on the command line."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from onnxplain import Explainer
from onnxplain.errors import LayerError, OptionError


def two_layers(tmp_path):
    """A convolution of the red channel, its Relu, and a mean, for two classes."""
    kernel = np.zeros((2, 3, 1, 1), np.float32)
    kernel[0, 0], kernel[1, 0] = 1, -1
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["conv"]),
        helper.make_node("LeakyRelu", ["conv"], ["relu"], alpha=0.5),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two_layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    path = tmp_path / "two.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def run(cli, model, picture, *arguments):
    outcome = cli("run", model, picture, "-m", "gradcam", "-t", "1", "-o", "maps", *arguments)
    assert outcome.status == 0, outcome.err
    return outcome.out


def saved(tmp_path):
    (values,) = (p for p in (tmp_path / "maps").glob("*.npy") if "heatmap" not in p.name)
    (manifest,) = (tmp_path / "maps").glob("*.json")
    return np.load(values), json.loads(manifest.read_text())


def test_layers_between_commas(cli, picture, tmp_path):
    model = two_layers(tmp_path)
    said = run(cli, model, picture, "-l", "conv,relu", "--fuse", "max", "--no-relu")
    values, manifest = saved(tmp_path)
    assert "layer conv,relu ->" in said
    assert values.shape == (2, 8, 8)
    assert manifest["layers"] == ["conv", "relu"]
    assert manifest["parameters"]["fuse"] == "max"
    assert manifest["parameters"]["relu"] is False
    assert values.min() < 0


def test_a_list_of_layers_is_what_stands_between_commas(picture, tmp_path):
    explainer = Explainer(two_layers(tmp_path))
    for method in ("gradcam", "eigencam"):
        found = explainer.explain(picture, method, 1, layer=["conv", "relu"])
        same = explainer.explain(picture, method, 1, layer="conv,relu")
        assert found.layers == ("conv", "relu")
        np.testing.assert_array_equal(found.values, same.values)
    with pytest.raises(LayerError, match=r"feature_maps reads one layer.*'conv,relu'"):
        explainer.explain(picture, "feature_maps", 1, layer=("conv", "relu"))
    with pytest.raises(OptionError, match="takes a name as layer"):
        explainer.explain(picture, "gradcam", 1, layer=["conv", 1])


@pytest.mark.parametrize("layers", ["all,conv", "conv, all"])
def test_all_is_no_name_among_others(cli, picture, tmp_path, layers):
    outcome = cli("run", two_layers(tmp_path), picture, "-m", "gradcam", "-l", layers)
    assert outcome.status == 2
    assert f"The name 'all' cannot be used with other names, as in '{layers}'" in outcome.err


def test_what_speaks_against_a_target(cli, picture, tmp_path):
    run(cli, two_layers(tmp_path), picture, "--counterfactual")
    values, _ = saved(tmp_path)
    assert values.max() > 0, "the second class is the negative of the picture"


def test_all_layers_are_drawn_as_a_sheet(cli, picture, tmp_path):
    said = run(cli, two_layers(tmp_path), picture, "-l", "all", "--no-relu", "-f", "png,json,npy")
    values, manifest = saved(tmp_path)
    assert manifest["layers"] == ["conv", "relu"]
    assert values.shape == (2, 8, 8)
    assert "layer conv,relu" in said
