"""Providers, their devices and options, threads and profiles on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from plugged import ABACUS, CPU, PretendedOrt, forget, install


@pytest.fixture
def ort(tmp_path, monkeypatch):
    ort = PretendedOrt(("CPU", "AMD"), ("GPU", "NVIDIA"))
    install(monkeypatch, tmp_path, ort)
    yield ort
    monkeypatch.undo()
    forget()


def test_the_list(cli, ort):
    outcome = cli("providers")
    assert outcome.status == 0
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert lines[0] == "provider short name device vendor usable"
    assert f"{CPU} cpu 0 (cpu) yes" in lines
    assert lines[-2:] == [
        f"{ABACUS} abacus 0 (cpu) AMD yes",
        f"{ABACUS} abacus 1 (gpu) NVIDIA yes",
    ]


def test_the_list_as_json(cli, ort):
    found = json.loads(cli("providers", "--json").out)
    assert found[-1] == {
        "name": ABACUS,
        "short": "abacus",
        "package": "onnxruntime-ep-abacus",
        "devices": [
            {"type": "cpu", "index": 0, "vendor": "AMD"},
            {"type": "gpu", "index": 1, "vendor": "NVIDIA"},
        ],
        "failure": "",
    }


def test_a_manifest_holds_all_of_it(cli, ort, model, picture):
    flags = ["--provider", "abacus:gpu", "--provider-option", "a=b=c", "--provider-option", "d="]
    outcome = cli("run", model, picture, "-m", "gradcam", *flags, "--threads", 2, "--json")
    assert outcome.status == 0, outcome.err
    (file,) = [path for path in json.loads(outcome.out)["files"] if path.endswith(".json")]
    manifest = json.loads(Path(file).read_text())
    assert manifest["provider"] == ABACUS
    assert manifest["device"] == {"type": "gpu", "index": 1, "vendor": "NVIDIA"}
    assert manifest["provider_options"] == {"a": "b=c", "d": ""}
    assert manifest["threads"] == 2
    assert {session.options.intra_op_num_threads for session in ort.opened[1:]} == {2}


@pytest.mark.parametrize("command", ["run", "compare", "inspect", "export"])
def test_every_command_that_opens_sessions_takes_the_flags(command, cli, ort, model, picture):
    pictures = [] if command in ("inspect", "export") else [picture]
    method = {"compare": "--methods", "inspect": ""}.get(command, "--method")
    chosen = [method, "gradcam"] if method else []
    flags = ["--provider", "abacus", "--provider-option", "a=1", "--threads", 1]
    outcome = cli(command, model, *pictures, *chosen, *flags)
    assert outcome.status == 0, outcome.err
    sessions = ort.opened[1:]  # without the one that tries the provider
    assert sessions
    for session in sessions:
        assert session.options.given == {"a": "1"}
        assert session.options.intra_op_num_threads == 1


def test_an_exported_file_is_verified_on_the_same_provider(cli, ort, model, picture):
    assert cli("export", model, "-m", "gradcam", "-o", "e.onnx").status == 0
    ort.opened.clear()
    outcome = cli("verify", "e.onnx", model, picture, "--provider", "abacus", "--threads", 1)
    assert outcome.status == 0, outcome.err
    assert all(session.options.used for session in ort.opened)
    assert {session.options.intra_op_num_threads for session in ort.opened[1:]} == {1}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--threads", "0"], "The number of threads must be at least 1, and is 0."),
        (["--provider-option", "a"], "--provider-option takes KEY=VALUE, not 'a'."),
        (["--provider-option", "=a"], "--provider-option takes KEY=VALUE, not '=a'."),
        (["--provider-option", "a=1"], f"{CPU} takes no options, such as 'a'"),
        (["--provider", "abacus:npu"], "has no device 'npu': it has 0 (cpu, AMD), 1 (gpu, NVIDIA)"),
        (["--provider", "abakus"], f"{ABACUS}"),
        (["--provider", "abacus", "--provider-option", "beads=2"], "refuses the options beads=2"),
    ],
)
def test_errors(flags, words, cli, ort, model, picture):
    if "--provider" not in flags:
        flags = ["--provider", "cpu", *flags]
    outcome = cli("run", model, picture, *flags)
    assert outcome.status == 2
    assert words in outcome.sentence


def test_a_profile(cli, model, picture, tmp_path):
    flags = ["--provider", "cpu", "-m", "occlusion", "--window", 4, "-o", "out", "--profile"]
    outcome = cli("run", model, picture, *flags)
    assert outcome.status == 0, outcome.err
    content = json.loads((tmp_path / "out" / "profile.json").read_text())
    (share,) = content["providers"]
    assert share["provider"] == CPU
    assert share["share_of_nodes"] == 1
    assert np.isclose(share["milliseconds"], sum(node["milliseconds"] for node in content["nodes"]))
    assert {"session", "node", "operator", "provider", "runs"} < content["nodes"][0].keys()
    lines = [line.split() for line in outcome.err.splitlines()]
    row = next(line for line in lines if line and line[0] == CPU)
    assert (row[2], row[4]) == ("100.0%", "100.0%")
    assert "Each node: out/profile.json." in outcome.err


def test_a_profile_leaves_json_alone(cli, model, picture):
    outcome = cli("run", model, picture, "--provider", "cpu", "--profile", "--json")
    assert outcome.status == 0
    json.loads(outcome.out)


def test_no_profile(cli, model, picture, tmp_path):
    assert cli("run", model, picture, "-o", "out").status == 0
    assert not (tmp_path / "out" / "profile.json").exists()
