"""Text from files cannot control a terminal that shows it, and JSON keeps the true text."""

import json
import unicodedata
from contextlib import contextmanager

import onnx
import pytest
from onnx import helper

from onnxplain.cli import progress, tables
from onnxplain.cli.console import Console
from onnxplain.visible import visible

HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b2J\x7f\u202ered\u2028\r\nError: forged"
SHOWN = r"\x1b]0;owned\x07\x1b[31m\x9b2J\x7f\u202ered\u2028\r\nError: forged"


@pytest.fixture
def hostile(build, tmp_path):
    """A model whose labels, metadata, producer, nodes, tensors and own name are hostile."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], [f"planes{HOSTILE}"], f"conv{HOSTILE}"),
        helper.make_node("GlobalAveragePool", [f"planes{HOSTILE}"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["y"], "flatten"),
    ]
    name = "\x1b[31m\u202e.onnx"
    path = build(nodes, name)
    proto = onnx.load(path)
    helper.set_model_props(proto, {f"key{HOSTILE}": HOSTILE})
    proto.producer_name = HOSTILE
    onnx.save(proto, path)
    sidecar = path.with_suffix(".onnxplain.json")
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(content | {"labels": [HOSTILE, "b", "c"]}))
    return path


def harmless(text):
    """Whether a terminal shows every character of a text, besides the ends of lines."""
    hidden = {"Cc", "Cs", "Zl", "Zp"}
    return not [
        c
        for c in text
        if c != "\n" and (unicodedata.category(c) in hidden or "\u202a" <= c <= "\u202e")
    ]


def test_every_active_character_becomes_the_escape_that_python_reads_back():
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x200F, 0x202E, 0x2066, 0x2028, 0xDCFF):
        shown = visible(f"a{chr(code)}b")
        assert shown.isascii()
        assert shown.isprintable()
        assert shown[1:-1].encode().decode("unicode_escape") == chr(code)


def test_all_other_characters_stay():
    text = "tabby, 猫 é \U0001f468\u200d\U0001f469 \\x1b “ف”"
    assert visible(text) == text
    assert visible("a\n\tb\x1b", kept="\n\t") == "a\n\tb\\x1b"


def test_the_rest_of_a_line_follows_an_escaped_end_of_line(cli, hostile):
    found = cli("inspect", hostile)
    assert found.status == 0
    assert not [line for line in found.out.splitlines() if line.startswith("Error")]


COMMANDS = {
    "inspect": ["inspect"],
    "run": ["run", "PICTURE", "--verbose"],
    "run with a layer": ["run", "PICTURE", "-m", "gradcam", "--verbose"],
    "compare": ["compare", "PICTURE", "-m", "gradcam,occlusion"],
    "sanity": ["sanity", "PICTURE", "-m", "gradcam"],
    "export": ["export", "-m", "gradcam"],
    "an unknown layer": ["run", "PICTURE", "-m", "gradcam", "-l", "plane"],
    "an unknown label": ["run", "PICTURE", "-t", HOSTILE[:20] + "x"],
    "the traceback of an error": ["run", "PICTURE", "-m", "gradcam", "-l", "plane", "--debug"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_what_is_printed_holds_no_control_characters(cli, hostile, paint, command):
    picture = paint("a\x1b[2J\x9b\u202e.png")
    name, *rest = (picture if word == "PICTURE" else word for word in command)
    found = cli(name, hostile, *rest)
    assert found.out + found.err
    assert harmless(found.out + found.err), found


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_json_holds_the_true_text(cli, hostile, picture, command):
    found = cli(command, hostile, *([picture] if command == "run" else []), "--json")
    assert harmless(found.out + found.err)
    facts = json.loads(found.out)
    shown = facts["target"]["label"] if command == "run" else facts["labels"]["names"][0]
    assert shown == HOSTILE


def test_names_of_files_that_are_written_hold_no_control_characters(cli, hostile, paint, tmp_path):
    picture = paint("a\x1b[2J\x9b\u202e.png")
    before = set(tmp_path.rglob("*"))
    assert cli("run", hostile, picture).status == 0
    assert cli("compare", hostile, picture, "-m", "gradcam").status == 0
    assert cli("export", hostile, "-m", "gradcam").status == 0
    written = set(tmp_path.rglob("*")) - before
    assert len(written) > 5
    assert all(harmless(str(path.relative_to(tmp_path))) for path in written)


def test_a_byte_of_a_name_that_is_no_utf8_is_shown(cli, model, paint, tmp_path):
    missing = tmp_path / "b\udcff.png"
    found = cli("run", model, missing)
    assert found.status == 2
    assert r"b\udcff.png" in found.err


def test_a_refusal_of_onnx_runtime_is_one_line(cli, build, picture):
    nodes = [helper.make_node(f"Op{HOSTILE}", ["x"], ["y"], HOSTILE, domain="other")]
    path = build(nodes)
    proto = onnx.load(path)
    proto.opset_import.append(helper.make_opsetid("other", 1))
    onnx.save(proto, path)
    sentence = cli("run", path, picture, "-m", "occlusion").sentence
    assert harmless(sentence)
    assert r"\x1b" in sentence


def test_the_title_of_a_progress_bar_is_shown(monkeypatch):
    titles = []

    @contextmanager
    def bar(title):
        titles.append(title)
        yield print

    monkeypatch.setattr(progress, "bar", bar)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Console(quiet=False, as_json=False).progress(HOSTILE):
        pass
    assert titles == [SHOWN]


def test_a_profile_is_a_table_of_several_lines(cli, hostile, picture):
    found = cli("run", hostile, picture, "-m", "occlusion", "--profile")
    assert harmless(found.err)
    assert "\\n" not in found.err.replace(SHOWN, "")
    assert any(line.startswith("provider") for line in found.err.splitlines())


def test_headings_of_a_terminal_are_bold_and_cells_are_not_styled(monkeypatch):
    printed = []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(tables.typer, "echo", printed.append)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    tables.print_table(("name",), [("\x1b[31mred",)])
    heading, row = printed[0].splitlines()
    assert heading.startswith("\x1b[1mname")
    assert row == r"\x1b[31mred"
