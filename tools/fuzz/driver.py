"""Starts workers, gives them chunks of cases, and replaces one that has ended or hangs."""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.fuzz.alone import fails_alone
from tools.fuzz.case import GIVEN, Case
from tools.fuzz.limits import RESIDENT, SECONDS
from tools.fuzz.watch import temporary

SURVIVES, ENDS_IN_TIME = "does not crash", "stays within time and memory"
"""Oracles that the driver sees."""

ITSELF = "ONNX Runtime alone"
"""What is noted of a model that crashes ONNX Runtime, or hangs it, without onnxplain."""

CHUNK = 40
"""Cases that are made from one number."""

_CYCLE = (
    "model picture model model configuration model model picture model model model picture "
    "model model"
).split()
"""The kinds of chunks, in turn: ten of models, three of pictures, one of configurations."""

_LOOK = 0.1
"""Seconds between two looks at a worker."""


class LostError(Exception):
    """A worker ended, hung, or used too much memory."""

    def __init__(self, oracle: str, finding: str) -> None:
        super().__init__(finding)
        self.oracle, self.finding = oracle, finding


class Worker:
    """A process that tries cases in a folder of its own."""

    def __init__(self) -> None:
        self.folder = temporary() / "case"
        self._errors = self.folder.with_name("errors")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.fuzz.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors.open("wb"),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def ask(self, **request: Any) -> Iterator[dict[str, Any]]:
        """Do what is asked for, and yield what the worker says.

        Raises:
            LostError: it is no longer there, or had to be ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request | {"folder": str(self.folder)}).encode())
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        for line in self._lines():
            facts = json.loads(line)
            if "finished" in facts:
                return
            yield facts

    def _lines(self) -> Iterator[bytes]:
        """Whole lines, as long as they come in time."""
        assert self._process.stdout is not None
        descriptor, held = self._process.stdout.fileno(), b""
        began = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while True:
                if selector.select(_LOOK):
                    read = os.read(descriptor, 1 << 16)
                    if not read:
                        raise LostError(SURVIVES, self._last_words())
                    *lines, held = (held + read).split(b"\n")
                    yield from lines
                    began = time.monotonic()
                self._check(time.monotonic() - began)

    def _last_words(self) -> str:
        said = self._errors.read_text(errors="replace").strip().splitlines()
        errors = [line for line in said if re.match(r"\w+(Error|Exception)\b", line)]
        return f"the process ended with {self._process.wait()}: {' '.join(errors[-1:])}"

    def _check(self, seconds: float) -> None:
        if seconds > SECONDS:
            raise LostError(ENDS_IN_TIME, f"not ended after {SECONDS} s")
        if (used := _resident(self._process.pid)) > RESIDENT:
            raise LostError(ENDS_IN_TIME, f"uses {used >> 20} MiB of memory")

    def close(self) -> None:
        """End the process, and remove its folder."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def _resident(process: int) -> int:
    """Bytes of memory that a process uses; 0 where the system does not say."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Finished:
    """The outcomes of a chunk, in order."""

    kind: str
    outcomes: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Driver:
    """Gives chunks to workers until the time is over, or there are enough."""

    seed: int
    minutes: float
    chunks: int | None
    kept: Path
    done: dict[int, Finished] = field(default_factory=dict)
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, workers: int) -> list[Finished]:
        """Try cases with so many workers; return the outcomes of each chunk, in order."""
        self._ends = time.monotonic() + 60 * self.minutes
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(self._work) for _ in range(workers)]:
                future.result()
        return [self.done[index] for index in sorted(self.done)]

    def _work(self) -> None:
        worker = Worker()
        try:
            while (index := self._take()) is not None:
                worker = self._chunk(index, worker)
        finally:
            worker.close()

    def _take(self) -> int | None:
        with self._lock:
            if self._over or self._next == self.chunks:
                return None
            self._next += 1
            return self._next - 1

    @property
    def _over(self) -> bool:
        return time.monotonic() > self._ends

    def _chunk(self, index: int, worker: Worker) -> Worker:
        """Do one chunk; return the worker, or the one that took its place."""
        kind, tried = _CYCLE[index % len(_CYCLE)], 0
        finished = self.done[index] = Finished(kind)
        number = 1_000_000 * self.seed + index
        while tried < CHUNK and not self._over:
            asked = {"kind": kind, "number": number, "count": CHUNK, "skip": tried}
            keep, before = self.kept / f"{index:05}", tried
            try:
                for facts in worker.ask(**asked, keep=str(keep)):
                    tried = facts.get("begins", tried)
                    if "ended" in facts:
                        finished.outcomes.append(facts)
                    if self._over:
                        break
                else:
                    break
                worker.close()
                worker = Worker()
            except LostError as lost:
                finished.outcomes.append(_lost(lost, worker, keep / f"{tried:02}"))
                worker.close()
                worker = Worker()
                if tried == before:  # no case could be made
                    break
        return worker


def _lost(lost: LostError, worker: Worker, keep: Path) -> dict[str, Any]:
    """The outcome of the case at which a worker was lost; the case is kept."""
    if not (worker.folder / "case.json").is_file():
        case = Case("none", "the worker ended before its first case", {}, [])
        return _outcome(case, lost, keep, itself=False)
    case = Case.read(worker.folder)
    case.write(keep)
    model = next(name for name in case.files if name.endswith(".onnx"))
    itself = case.kind == "model" and fails_alone(worker.folder / GIVEN / model)
    return _outcome(case, lost, keep, itself=itself)


def _outcome(case: Case, lost: LostError, keep: Path, *, itself: bool) -> dict[str, Any]:
    return {
        "what": case.what,
        "valid": case.valid,
        "explained": False,
        "reason": ITSELF if itself else lost.finding,
        "seconds": 0,
        "checked": [lost.oracle],
        "findings": [] if itself else [[lost.oracle, lost.finding]],
        "kept": str(keep),
    }


def replay(folder: Path) -> dict[str, Any]:
    """Try a case again that was kept."""
    worker = Worker()
    try:
        (outcome,) = (f for f in worker.ask(replay=str(folder.absolute())) if "ended" in f)
    except LostError as lost:
        outcome = _lost(lost, worker, folder)
    finally:
        worker.close()
    return outcome
