import json

from onnxplain.methods.registry import METHODS


def test_json_holds_every_method_with_its_options_and_needs(cli):
    outcome = cli("methods", "--json")
    found = {method["name"]: method for method in json.loads(outcome.out)}
    assert list(found) == list(METHODS)
    assert found["rise"]["options"] == {
        "samples": 4000,
        "grid": 7,
        "keep": 0.5,
        "seed": 0,
        "baseline": "black",
    }
    assert (found["rise"]["score"], found["cam"]["score"]) == ("probability", "logit")
    needs_layer = {name for name, method in found.items() if method["needs_layer"]}
    assert needs_layer >= {"cam", "scorecam", "eigencam", "feature_maps"}
    assert not needs_layer & {"occlusion", "rise"}


def test_table_has_one_line_for_each_method(cli):
    headings, *lines = cli("methods").out.splitlines()
    assert headings.split()[:3] == ["method", "shows", "layer"]
    assert [line.split()[0] for line in lines] == list(METHODS)
    (scorecam,) = (line for line in lines if line.startswith("scorecam"))
    assert "layer=auto, fuse=mean, baseline=black" in scorecam
    assert "Wang 2020" in scorecam


def test_no_line_of_a_table_is_padded(cli, model):
    for arguments in (["methods"], ["inspect", model]):
        lines = cli(*arguments).out.splitlines()
        assert len(lines) > 5
        assert all(line == line.rstrip() for line in lines)
