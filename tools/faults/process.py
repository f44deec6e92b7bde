"""A command that runs, whose output is read until the moment of a fault."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).parents[2]

_LONGEST = 90.0
"""Seconds after which a command that does not end is said to hang."""

_STEP = 0.05


@dataclass(frozen=True)
class Ended:
    """How a command ended. `status` is negative for a signal, None if it did not end in time."""

    status: int | None
    lines: list[str]
    errors: list[str]

    @property
    def pictures(self) -> list[str]:
        """The pictures that were reported, in order, one for each result."""
        return [json.loads(line)["picture"] for line in self.lines]


class Process:
    """`onnxplain ARGUMENTS` in `folder`, with temporary files and messages in folders of its own.

    `wrapped` is a command that runs the command that follows it.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, wrapped: Sequence[str] = ()) -> None:
        self.folder = folder
        self._messages = folder / f"messages-{time.monotonic_ns()}"
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        self._popen = subprocess.Popen(
            [*wrapped, sys.executable, "-X", "faulthandler", "-m", "onnxplain", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT), "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._messages.open("wb"),
        )
        self.began = time.monotonic()
        self._given = b""
        self._open = True

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._popen.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.runs:
            self._popen.send_signal(number)

    def wait(self, *, lines: int | None = None, seconds: float | None = None) -> None:
        """Read until so many lines were printed, so many seconds have passed, or it ends."""
        while self._open and self.runs:
            if lines is not None and self._given.count(b"\n") >= lines:
                return
            if seconds is not None and time.monotonic() - self.began >= seconds:
                return
            if time.monotonic() - self.began > _LONGEST:
                return
            self._read(_STEP if seconds is None else 0.002)

    def close_output(self) -> None:
        """Close the reading end of its standard output."""
        if self._open:
            self._stream().close()
            self._open = False

    def end(self) -> Ended:
        """Read until it ends."""
        while self._open and time.monotonic() - self.began < _LONGEST:
            self._read(_STEP)
        try:
            status = self._popen.wait(max(0.1, _LONGEST - (time.monotonic() - self.began)))
        except subprocess.TimeoutExpired:
            # The stacks of all threads go to the messages.
            self._popen.send_signal(signal.SIGABRT)
            self._popen.wait()
            status = None
        self.close_output()
        errors = self._messages.read_text(errors="replace")
        self._messages.unlink()
        *whole, _ = self._given.decode(errors="replace").split("\n")
        return Ended(status, whole, errors.splitlines())

    def _stream(self) -> IO[bytes]:
        stream = self._popen.stdout
        assert stream is not None
        return stream

    def _read(self, seconds: float) -> None:
        stream = self._stream()
        if select.select([stream], [], [], seconds)[0]:
            part = os.read(stream.fileno(), 1 << 16)
            self._given += part
            self._open = bool(part)
