import os
import subprocess
import sys

import pytest

import onnxplain
from onnxplain.jobs import inputs as inputs_module

# Sends Ctrl-C when the twentieth batch is about to run.
INTERRUPT = """
import os, signal
from onnxplain.runtime.session import Session
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
run = Session.run
def interrupted(self, *arguments):
    if self.runs == 20:
        os.kill(os.getpid(), signal.SIGINT)
    return run(self, *arguments)
Session.run = interrupted
"""
TOO_LARGE = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
FULL = """
import errno, os, pathlib
def full(path, data):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
pathlib.Path.write_bytes = full
"""

# Removes the folder after the files of some pictures were written.
REMOVED = """
import shutil
from onnxplain.jobs.job import Saving
save, saved = Saving.save, []
def removed(self, explanation, name):
    files = save(self, explanation, name)
    saved.append(name)
    if len(saved) == %d:
        shutil.rmtree(self.folder)
    return files
Saving.save = removed
"""


def test_ctrl_c_in_a_long_run(shell, model, picture, tmp_path):
    flags = ["-m", "rise", "--samples", "500", "--batch-size", "1", "-o", "maps"]
    outcome = shell("run", model, picture, *flags, setup=INTERRUPT)
    assert outcome.status == 130
    assert outcome.sentence == "Interrupted: what was finished is saved, the rest is not."
    assert not list(tmp_path.glob("maps/*"))


# Sends a signal while the first file is written.
ENDED = """
import os, pathlib, signal
write, number = pathlib.Path.write_bytes, signal.%s
signal.signal(number, signal.SIG_DFL)
def ended(path, data):
    pathlib.Path.write_bytes = write
    os.kill(os.getpid(), number)
    return write(path, data)
pathlib.Path.write_bytes = ended
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_run_with_a_sentence_and_no_temporary_file(
    shell, model, paint, tmp_path, name, status
):
    for i in range(9):
        paint(f"pictures/{i}.png")
    flags = ["-m", "cam", "-o", "maps", "--quiet"]
    outcome = shell("run", model, "pictures", *flags, setup=ENDED % name)
    assert outcome.status == status
    assert outcome.sentence == "Interrupted: what was finished is saved, the rest is not."
    assert not list(tmp_path.glob("maps/.*"))
    assert len(list(tmp_path.glob("maps/*"))) % 4 == 0


def test_a_signal_that_is_ignored_does_not_end_a_run(shell, model, picture):
    """As for a command that `nohup` runs."""
    setup = (ENDED % "SIGHUP").replace("SIG_DFL", "SIG_IGN")
    assert shell("run", model, picture, "-m", "cam", setup=setup).status == 0


@pytest.mark.parametrize(
    ("setup", "words"), [(FULL, "the disk is full"), (TOO_LARGE, "larger than the system allows")]
)
def test_a_full_disk(shell, model, picture, tmp_path, setup, words):
    outcome = shell("run", model, picture, "-m", "cam", "-o", "maps", setup=setup)
    assert outcome.status == 1
    assert outcome.sentence.startswith("Could not write to maps: ")
    assert words in outcome.sentence
    assert not list(tmp_path.glob("maps/*"))


@pytest.mark.parametrize("at", [3, 9])
def test_a_folder_that_is_removed_during_the_run_is_a_failure(shell, model, paint, at):
    """Also if it is removed after the last file was written."""
    for i in range(9):
        paint(f"pictures/{i}.png")
    outcome = shell("run", model, "pictures", "-m", "cam", "-o", "maps", setup=REMOVED % at)
    assert outcome.status == 1
    assert "The folder maps was removed while results were written to it" in outcome.err


def test_names_that_differ_only_at_their_end_keep_their_files(shell, model, paint, tmp_path):
    for i in range(3):
        paint(f"pictures/{'n' * 125}{i}.png")
    outcome = shell("run", model, "pictures", "-m", "cam", "-o", "maps", "-f", "npy")
    assert outcome.status == 0
    assert len(list(tmp_path.glob("maps/*.npy"))) == 3


@pytest.mark.parametrize("arguments", [["methods", "--json"], ["--version"]])
def test_nobody_reads_the_output(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "onnxplain", *arguments]
    # Output that could not be written is still in a buffer, but must not be tried again at exit.
    buffered = {name: v for name, v in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, env=buffered, timeout=60, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("debug", [False, True])
def test_a_failure_inside_is_one_sentence_and_a_traceback_only_on_request(
    cli, model, picture, monkeypatch, debug
):
    def fail(*patterns):
        raise RuntimeError("the cat sat on it")

    monkeypatch.setattr(inputs_module, "find_with_roots", fail)
    outcome = cli("run", model, picture, *["--debug"] * debug)
    assert outcome.status == 1
    *before, sentence = outcome.err.splitlines()
    assert sentence.startswith("Error: Internal error, RuntimeError: the cat sat on it. Please ")
    assert bool(before) == ("Traceback" in outcome.err) == debug


def test_debug_shows_where_an_expected_error_comes_from(cli, picture):
    outcome = cli("run", "gone.onnx", picture, "--debug")
    assert outcome.status == 2
    assert outcome.err.startswith("Traceback")
    assert outcome.err.splitlines()[-1].startswith("Error: There is no file gone.onnx")


def test_help_of_all_and_unknown_commands_load_nothing_heavy(shell):
    heavy = ["numpy", "onnx", "onnxruntime", "cv2", "onnx_graphsurgeon"]
    report = f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    setup = f"import os, sys; end = os._exit; os._exit = lambda status: ({report}, end(status))"
    for arguments in ([], ["--help"], ["--version"], ["--fromat"], ["ruin"]):
        assert shell(*arguments, setup=setup).err.endswith("[]\n")


def test_help_lists_commands_options_in_groups_and_examples(cli):
    assert cli().out == cli("--help").out
    text = cli("run", "--help").out
    assert "onnxplain run model.onnx cat.jpg" in text
    for group in ("What to explain", "Preprocessing"):
        assert f"─ {group}" in text
    assert "--layer" in text
    assert "--window" not in text
    assert "onnxplain methods NAME" in " ".join(text.replace("│", " ").split())


def test_version(cli):
    assert cli("--version").out == f"onnxplain {onnxplain.__version__}\n"


CRASH = """
import ctypes
own = ctypes.CDLL(None)
own.__cxa_atexit(own.abort, None, None)
"""
"""An exit handler as of a native library, which ends the process by SIGABRT."""

RUN = "from onnxplain.cli import main; main()"


@pytest.mark.skipif(sys.platform != "linux", reason="registers the handler in glibc")
@pytest.mark.parametrize(("arguments", "status"), [(["methods"], 0), (["inspect", "no.onnx"], 2)])
def test_exit_handlers_of_native_libraries_are_left_out(arguments: list[str], status: int) -> None:
    """Those of pyarrow crashed where memory had run out."""
    plain, handled = (
        subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False)
        for code in (RUN, CRASH + RUN)
    )
    assert handled.returncode == status
    assert (handled.stdout, handled.stderr) == (plain.stdout, plain.stderr)
    assert plain.stdout if status == 0 else plain.stderr
