"""Standard streams that are closed or full, and a working folder that is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import onnxplain

FULL = Path("/dev/full")
ROOT = str(Path(onnxplain.__file__).parents[1])

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full and a POSIX shell")


@pytest.fixture
def script(tmp_path):
    """Run shell code in which $OX is onnxplain; return its status, and both outputs."""

    def run(code):
        # An empty entry is the working folder, and without one Python does not start.
        found = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
        return subprocess.run(
            ["/bin/sh", "-c", code],
            cwd=tmp_path,
            env={**os.environ, "OX": f"{sys.executable} -m onnxplain", "PYTHONPATH": found},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


COMMANDS = ["inspect model.onnx", "inspect model.onnx --json", "run model.onnx red.png", "methods"]


@pytest.mark.parametrize("command", [*COMMANDS, "--version", "--help"])
@pytest.mark.parametrize(("to", "why"), [(">&-", "Bad file"), (">/dev/full", "No space left")])
def test_results_that_cannot_be_written(script, model, picture, command, to, why):
    done = script(f"$OX {command} {to}")
    assert done.returncode == 1
    sentences = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(sentences) == 1
    assert f"cannot be written to standard output ({why}" in sentences[0]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("to", ["2>&-", "2>/dev/full"])
def test_notes_that_cannot_be_written_are_dropped(script, model, picture, to):
    done = script(f"$OX run model.onnx red.png {to}")
    assert done.returncode == 0
    assert done.stdout.startswith("red.png: 0 ")
    assert done.stdout.count("\n") == 1
    assert script(f"$OX run gone.onnx red.png {to}").returncode == 2


def test_all_streams_closed(script, model, picture, tmp_path):
    assert script("$OX run model.onnx red.png <&- >&- 2>&-").returncode == 1
    assert list(tmp_path.glob("onnxplain-out/*.json"))


def test_a_folder_to_work_in_that_is_gone(script, model, picture):
    done = script("mkdir gone && cd gone && rmdir ../gone && $OX inspect model.onnx")
    assert done.returncode == 1
    assert "The working folder cannot be used" in done.stderr
