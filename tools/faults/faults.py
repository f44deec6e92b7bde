"""The faults: what is done to a run, and what may come of it."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from tools.faults.process import Process

PICTURES, OUT = "pictures", "out"
"""Names of the folders of pictures and of results, in the folder of a round."""

_MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault.

    Attributes:
        act: does it to a process, at a random moment.
        statuses: with which a run that is hit may end. A run that ends before is complete.
        pieces: whether temporary files and incomplete sets may be left, as nothing can remove them.
        loses: whether files that were reported may be missing, because the fault removes them.
        errors: the most errors that may be printed.
        says: what the error says.
        silent: whether nothing may be printed.
        disk: MB of the file system of the results; None for that of the folder.
        twice: whether a second run writes into the same folder.
    """

    act: Callable[[Process, Random], None]
    statuses: tuple[int, ...]
    pieces: bool = False
    loses: bool = False
    errors: int = 1
    says: str = ""
    silent: bool = False
    disk: int | None = None
    twice: bool = False


def _send(number: signal.Signals, process: Process, random: Random) -> None:
    process.send(number)


def _limit(kind: int, low: int, high: int, process: Process, random: Random) -> None:
    if process.runs:
        _, hard = resource.prlimit(process.pid, kind)
        resource.prlimit(process.pid, kind, (random.randint(low, high), hard))


def _limit_memory(process: Process, random: Random) -> None:
    """Allow little more memory than the process has."""
    if process.runs:
        size = Path(f"/proc/{process.pid}/statm").read_text().split()[0]
        now = int(size) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, now, now + 64 * _MEGABYTE, process, random)


def _remove(name: str, process: Process, random: Random) -> None:
    shutil.rmtree(process.folder / name, ignore_errors=True)


def _close(process: Process, random: Random) -> None:
    process.close_output()


def _nothing(process: Process, random: Random) -> None:
    pass


_INTERRUPTED = "Interrupted"

FAULTS = {
    "kill -9": Fault(act=partial(_send, signal.SIGKILL), statuses=(-9,), pieces=True, silent=True),
    "SIGTERM": Fault(act=partial(_send, signal.SIGTERM), statuses=(143,), says=_INTERRUPTED),
    "SIGINT": Fault(act=partial(_send, signal.SIGINT), statuses=(130,), says=_INTERRUPTED),
    "SIGHUP": Fault(act=partial(_send, signal.SIGHUP), statuses=(129,), says=_INTERRUPTED),
    "full disk": Fault(act=_nothing, statuses=(1,), says="the disk is full", disk=8),
    "largest file": Fault(
        act=partial(_limit, resource.RLIMIT_FSIZE, 100, 20_000),
        statuses=(1,),
        says="larger than the system allows",
    ),
    "results removed": Fault(
        act=partial(_remove, OUT), statuses=(1,), says="was removed", loses=True
    ),
    "pictures removed": Fault(
        act=partial(_remove, PICTURES), statuses=(2,), says="does not exist", errors=1000
    ),
    "broken pipe": Fault(act=_close, statuses=(141,), silent=True),
    "file handles": Fault(
        act=partial(_limit, resource.RLIMIT_NOFILE, 3, 24), statuses=(1, 2), errors=1000
    ),
    "memory": Fault(act=_limit_memory, statuses=(1, 2), says="memory|threads", errors=1000),
    "two processes": Fault(
        act=_nothing, statuses=(0, 2), says="Another run|another job", twice=True
    ),
}
