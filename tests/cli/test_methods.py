import dataclasses
import inspect
import json
import pickle
import re
from typing import ClassVar

import pytest

from onnxplain.cli import compare, run, sanity
from onnxplain.cli.flags import ARRAYS, MODEL, PREPROCESS, TABLES, switches, with_flags
from onnxplain.methods.gradcam import GradCAM
from onnxplain.methods.options import options_of
from onnxplain.methods.registry import METHODS, OPTIONS


def test_json_holds_every_method_with_its_options_and_needs(cli):
    outcome = cli("methods", "--json")
    found = {method["name"]: method for method in json.loads(outcome.out)}
    assert list(found) == list(METHODS)
    assert found["rise"]["options"] == {
        "smooth": "none",
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


def test_the_table_names_each_method_in_80_columns(cli):
    lines = cli("methods").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["method", "what", "it", "shows"]
    first = [line.split()[0] for line in lines[1:-2] if not line.startswith(" ")]
    assert first == list(METHODS)


def test_one_method_with_its_options_and_their_defaults(cli):
    text = cli("methods", "occlusion").out
    assert max(map(len, text.splitlines())) <= 80
    assert "Zeiler 2013" in text
    for name in options_of(METHODS["occlusion"]):
        assert f"\n--{name} " in text
    assert re.search(r"--fill WHAT +black ", text)
    assert json.loads(cli("methods", "occlusion", "--json").out)["name"] == "occlusion"


def test_an_unknown_method_is_refused_with_those_of_nearly_that_name(cli):
    outcome = cli("methods", "gradcan")
    assert outcome.status == 2
    assert "did you mean gradcam" in outcome.err


def test_a_shell_completes_the_names_of_methods(cli, monkeypatch):
    monkeypatch.setenv("_ONNXPLAIN_COMPLETE", "complete_bash")
    for words, expected in (
        ("onnxplain run m.onnx -m gradi", ["gradient"]),
        ("onnxplain methods occ", ["occlusion"]),
        ("onnxplain insp", ["inspect"]),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert cli().out.split() == expected


def test_no_line_of_a_table_is_padded(cli, model):
    for arguments in (["methods"], ["inspect", model]):
        lines = cli(*arguments).out.splitlines()
        assert len(lines) > 5
        assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("module", [run, compare, sanity])
def test_every_option_of_a_method_has_a_flag_and_every_flag_a_method(module):
    # A signature has no parameter twice, so that no option has the name of another flag.
    flags = set(inspect.signature(with_flags(module.command)).parameters)
    others = {"context", "debug", *(flag.name for flag in (*MODEL, *PREPROCESS, *ARRAYS))}
    others |= set(inspect.signature(module.command).parameters) - set(TABLES)
    assert flags - others == {
        field.name for kind in METHODS.values() for field in dataclasses.fields(kind)
    }


@pytest.mark.parametrize("kind", METHODS.values())
def test_options_of_one_name_are_declared_once(kind):
    assert list(options_of(kind)) == [field.name for field in dataclasses.fields(kind)]
    for name, declared in options_of(kind).items():
        assert declared == OPTIONS[name]
        assert declared.option.help
        assert bool(declared.option.metavar) == (name not in switches())


def test_a_field_without_an_option_is_refused():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Odd(GradCAM):
        name: ClassVar[str] = "odd"
        extra: int = 3

    with pytest.raises(TypeError, match="The field 'extra' of Odd declares no option"):
        Odd()


@pytest.mark.parametrize("kind", METHODS.values())
def test_a_method_is_a_plain_dataclass(kind):
    method = kind(score="probability")
    assert pickle.loads(pickle.dumps(method)) == method != kind(score="logit")
    assert dataclasses.replace(method, score="logit") == kind(score="logit")
