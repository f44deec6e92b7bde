"""What occlusion costs in patches: run with `python -m tools.bench.occlusion FILE...`.

Each file is measured in a process of its own, on noise of its input's size, with the default
windows. Whole runs of `Explainer.attribute` take turns: plain batches, then patches. "first" is the
ratio of the first runs, which open sessions and prove the patches, "next" the median of later
ratios. Times are those of the processor. "difference" is the largest one of the values, relative to
the largest score. "memory" is the ratio of the largest memory of two processes that make one run
each, both with the Python interpreter and the model (on Linux).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import onnxplain
from onnxplain.execution import patches
from onnxplain.targets import Target
from onnxplain.targets.elements import Element
from onnxplain.tensors import Array

HEADER = (
    "| model | input | plain, s | patches, s | first | next | difference | memory |\n"
    "| --- | --- |" + " ---: |" * 6
)

_SIDE = 224


@dataclass(frozen=True)
class Row:
    """One model. `first` and `next` are ratios of patches to plain runs."""

    name: str
    size: str
    plain: float
    in_patches: float
    first: float
    next: float
    difference: float
    memory: float

    def __str__(self) -> str:
        """As a row of the table in Markdown."""
        return (
            f"| {self.name} | {self.size} | {self.plain:.2f} | {self.in_patches:.2f} "
            f"| {self.first:.2f} | {self.next:.2f} | {self.difference:.0e} "
            f"| {self.memory:.2f} |"
        )


class _Subject:
    """A model file with an explainer of its own, which is asked for the map of noise."""

    def __init__(self, path: Path, threads: int) -> None:
        self._explainer = onnxplain.Explainer(path, provider="cpu", threads=threads)
        shape = (self._explainer.input.shape or ())[1:]
        self.sizes = [d if isinstance(d, int) else _SIDE for d in shape]

    def explained(self, seed: int) -> tuple[Array, float, float]:
        """The values, the score, and the seconds of the processor."""
        x = np.random.default_rng(seed).random((1, *self.sizes), np.float32)
        began = time.process_time()
        found = self._explainer.attribute(x, "occlusion", self._target)
        return found.values, float(np.abs(found.scores).max()), time.process_time() - began

    @property
    def _target(self) -> str | Target:
        answer = self._explainer.model.outputs[0].shape or ()
        return "top1" if len(answer) == 2 else Element((4, 0))  # noise has no objects


@contextmanager
def _plain() -> Iterator[None]:
    """Without patches."""
    used = patches.perturbed
    patches.perturbed = lambda *_: ""
    try:
        yield
    finally:
        patches.perturbed = used


def measure(path: Path, threads: int, rounds: int) -> Row:
    """Measure one model file."""
    whole, patched = _Subject(path, threads), _Subject(path, threads)
    times, differences = [], []
    for seed in range(rounds + 1):
        with _plain():
            expected, score, plain_seconds = whole.explained(seed)
        found, _, seconds = patched.explained(seed)
        times.append((plain_seconds, seconds))
        differences.append(float(np.abs(found - expected).max()) / score)
    ratios = [own / plain for plain, own in times]
    memory = [_alone(_memory, path, threads, plain) for plain in (False, True)]
    return Row(
        name=path.stem,
        size="x".join(map(str, whole.sizes)),
        plain=statistics.median(plain for plain, _ in times[1:]),
        in_patches=statistics.median(own for _, own in times[1:]),
        first=ratios[0],
        next=statistics.median(ratios[1:]),
        difference=max(differences),
        memory=memory[0] / memory[1],
    )


def _memory(path: Path, threads: int, plain: bool) -> float:
    """The largest memory of this process with one run."""
    if plain:
        patches.perturbed = lambda *_: ""
    _Subject(path, threads).explained(0)
    # Unlike the maximum of `resource`, this one does not count the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def _alone(call: Callable[..., Any], *given: Any) -> Any:
    """The result of a call in a new process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, call, given))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def _answer(pipe: Connection, call: Callable[..., Any], given: tuple[Any, ...]) -> None:
    pipe.send(call(*given))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.occlusion", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"onnxruntime {ort.__version__}, {os.cpu_count()} cores, {platform.machine()}, ", end="")
    print(f"{given.threads} thread(s)\n\n{HEADER}")
    for path in given.models:
        try:
            print(_alone(measure, path, given.threads, given.rounds), flush=True)
        except EOFError:
            print(f"{path}: not measured", file=sys.stderr)


if __name__ == "__main__":
    main()
