"""Models that draw random numbers, on the command line."""

import json

import numpy as np
import pytest
from onnx import helper

HALF, ON = ("ratio", np.float32(0.5)), ("training", np.array(True))


@pytest.fixture
def drawing(build):
    """The mean of each color, with Dropout in training mode before it."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["planes"], "conv"),
        helper.make_node("Dropout", ["planes", "ratio", "training"], ["dropped"], "drop"),
        helper.make_node("GlobalAveragePool", ["dropped"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["y"], "flatten"),
    ]
    weights = (("w", np.eye(3, dtype=np.float32)[:, :, None, None]), HALF, ON)
    return build(nodes, weights=weights)


def test_inspect_names_the_nodes(cli, drawing):
    row = next(line for line in cli("inspect", drawing).out.splitlines() if "random" in line)
    assert " ".join(row.split()) == (
        "random the model draws random numbers in 'drop' (Dropout); "
        "--fix-random replaces known nodes"
    )
    found = json.loads(cli("inspect", drawing, "--json").out)["random"]
    assert found["nodes"] == [{"node": "drop", "op": "Dropout"}]
    assert found["fixed"] == []


def test_inspect_says_what_was_replaced(cli, drawing):
    out = cli("inspect", drawing, "--fix-random").out
    assert "replaced by --fix-random: 'drop' (Dropout)" in out
    found = json.loads(cli("inspect", drawing, "--json", "--fix-random").out)["random"]
    assert found == {
        "nodes": [],
        "of_batch": [],
        "fixed": [{"node": "drop", "op": "Dropout"}],
        "cause": "",
    }


def test_inspect_says_nothing_of_other_models(cli, model):
    assert "random" not in cli("inspect", model).out


def test_run_refuses_gradients_and_names_the_flag(cli, drawing, picture):
    found = cli("run", drawing, picture, "-m", "gradient", "-q")
    assert found.status == 2
    assert "draws random numbers in 'drop' (Dropout)" in found.sentence
    assert "--fix-random" in found.sentence
    assert cli("run", drawing, picture, "-m", "gradcam", "--fix-random").status == 0


def test_run_warns_once(cli, drawing, picture):
    found = cli("run", drawing, picture)
    assert found.status == 0
    assert found.err.count("so that this map may have noise") == 1
    assert "Method: occlusion, which needs no gradient: the model draws random" in found.err
    assert "does not take batches" not in found.err


def test_export_and_serve_follow_the_same_rule(cli, drawing):
    assert "--fix-random" in cli("export", drawing, "-m", "gradcam").sentence
    assert "draws random numbers" in cli("export", drawing, "-m", "eigencam").err
    fixed = cli("export", drawing, "-m", "gradcam", "--fix-random")
    assert fixed.status == 0
    assert "random" not in fixed.err
    assert "--fix-random" in cli("serve", drawing, "-m", "gradcam", "--port", "0", "-q").sentence
