"""Runs the command lines of a case in this process."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnxplain.cli.app import execute
from tools.fuzz.case import BESIDE, GIVEN, OUT, Case
from tools.fuzz.watch import Watch

SECRET = "a-secret-of-another-folder"
"""What the files hold that no case may read."""

SECRETS = ("secret.bin", "weights.bin", "labels.txt")
"""Their names; some are those of files that a case has in its own folder."""


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    arguments: tuple[str, ...]
    status: int
    out: str
    err: str
    opened: tuple[str, ...]
    seconds: float


def lay_out(case: Case, folder: Path) -> None:
    """Write a case, with a working folder whose files it may not read."""
    shutil.rmtree(folder, ignore_errors=True)
    given, beside = folder / GIVEN, folder / BESIDE
    given.mkdir(parents=True)
    beside.mkdir()
    for name in SECRETS:
        (beside / name).write_text(f"{SECRET}\n" * 64)
    case.write(folder)
    for name, target in case.links.items():
        (given / name).symlink_to(target)
    for name in case.pipes:
        os.mkfifo(given / name)


def run_commands(case: Case, folder: Path, watch: Watch) -> list[Ended]:
    """Run the command lines of a case that was laid out in `folder`."""
    (folder / OUT).mkdir(exist_ok=True)
    before = Path.cwd()
    os.chdir(folder / BESIDE)
    try:
        return [_run(tuple(command), folder, watch) for command in case.commands]
    finally:
        os.chdir(before)


def _run(arguments: tuple[str, ...], folder: Path, watch: Watch) -> Ended:
    began = time.perf_counter()
    with (
        _captured(folder) as captured,
        watch.only(folder / GIVEN, folder / OUT, traps=[folder / BESIDE]) as opened,
    ):
        status = execute(arguments)
    seconds = time.perf_counter() - began
    out, err = captured
    return Ended(arguments, status, out, err, tuple(opened), seconds)


@contextmanager
def _captured(folder: Path) -> Iterator[list[str]]:
    """Collect what Python and native code write to both streams."""
    import sys

    texts: list[str] = []
    files = [folder / f"stream{descriptor}" for descriptor in (1, 2)]
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    for descriptor, path in zip((1, 2), files, strict=True):
        target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, descriptor)
        os.close(target)
    try:
        yield texts
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, own in zip((1, 2), kept, strict=True):
            os.dup2(own, descriptor)
            os.close(own)
        texts += [path.read_bytes().decode(errors="backslashreplace") for path in files]
        for path in files:
            path.unlink()
