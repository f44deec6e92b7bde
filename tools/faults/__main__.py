"""Run with `python -m tools.faults --rounds 100 --seed 0`.

Each round starts `onnxplain run` on 200 small pictures, causes a fault at a random moment, and
checks all files and messages that are left. It prints a count for each fault and each check, and
for each finding the command that repeats its round. The exit status is 1 if there are findings.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import cv2
import numpy as np

from tools.faults.faults import FAULTS, OUT, PICTURES, Fault
from tools.faults.oracle import ORACLES, Finding, check, check_again
from tools.faults.process import Ended, Process

_MODELS = Path(__file__).parents[2] / "models"

_RUNS = (
    ("digit_vit.onnx", "attention_rollout"),
    ("digit_vit.onnx", "gradient"),
    ("squeezenet1_1.onnx", "cam"),
    ("squeezenet1_1.onnx", "hirescam"),
)
"""Models and methods that take little time."""

_SECONDS = 8.0
"""About as long as a run; a fault comes after a random part of it, or after a random picture."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--fault", choices=FAULTS, action="append", help="only this kind")
    parser.add_argument("--only", type=int, help="only this round")
    given = parser.parse_args()
    _enter_own_root()
    kinds = given.fault or list(FAULTS)
    rounds = range(given.rounds) if given.only is None else [given.only]
    counts: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as home:
        pictures = _paint(Path(home) / PICTURES, given.pictures)
        if not _mounts():
            print("No small file system can be mounted here: a full disk is left out.")
            kinds = [name for name in kinds if FAULTS[name].disk is None]
        for i in rounds:
            name = kinds[i % len(kinds)]
            random = Random(f"{given.seed}:{i}")
            folder = Path(home) / f"round-{i}"
            hit, findings = _round(folder, FAULTS[name], random, pictures)
            counts[name] += 1
            hits[name] += hit
            failed.update({finding.oracle for finding in findings})
            for finding in findings[:5]:
                print(f"round {i}, {name}: {finding.oracle}: {finding.seen}", flush=True)
            if findings:
                only = "".join(f" --fault '{kind}'" for kind in given.fault or ())
                print(f"  again: python -m tools.faults --seed {given.seed} --only {i}{only}")
            shutil.rmtree(folder)
    print(f"\n{'fault':18} rounds  hit in time")
    for name, count in counts.items():
        print(f"{name:18} {count:6} {hits[name]:12}")
    print(f"\n{'check':10} rounds that fail")
    for name, meaning in ORACLES.items():
        print(f"{name:10} {failed[name]:6}  {meaning}")
    return 1 if failed else 0


def _paint(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (32, 40, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i:03d}.png"), noise)
    return folder


def _round(
    folder: Path, fault: Fault, random: Random, pictures: Path
) -> tuple[bool, list[Finding]]:
    """Whether the fault came before the end of the run, and what does not hold."""
    shutil.copytree(pictures, folder / PICTURES)
    count = len(list(pictures.iterdir()))
    model, method = random.choice(_RUNS)
    command = ["run", str(_MODELS / model), PICTURES, "--out", OUT, "--json", "-m", method]
    with _disk(folder / OUT, fault, random):
        process = Process(command, folder)
        others = [Process([*command, "--colormap", "jet"], folder)] if fault.twice else []
        if random.random() < 0.3:
            process.wait(seconds=random.uniform(0.3, _SECONDS))
        else:
            process.wait(lines=random.randint(1, count - 1))
        hit = process.runs
        fault.act(process, random)
        ended = [one.end() for one in (process, *others)]
        findings = check(folder, ended, fault, count)
        if fault.pieces:
            findings += check_again(folder, _again(command, folder), count)
    return hit, findings


def _again(command: Sequence[str], folder: Path) -> Ended:
    return Process(command, folder).end()


_TMPFS = ("mount", "-t", "tmpfs", "-o")


def _mounts() -> bool:
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as place:
        command = [*_TMPFS, "size=1m", "tmpfs", place]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        if mounted:
            subprocess.run(["umount", place], check=True)
        return mounted


def _enter_own_root() -> None:
    """Go on in a user namespace, in which every user may mount, where the system has these."""
    mark = "ONNXPLAIN_FAULTS_OWN_ROOT"
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    allowed = shutil.which(own[0]) and not subprocess.run([*own, "true"], check=False).returncode
    if mark not in os.environ and not _mounts() and allowed:
        os.environ[mark] = "1"
        os.execvp(own[0], [*own, sys.executable, "-m", "tools.faults", *sys.argv[1:]])


@contextmanager
def _disk(out: Path, fault: Fault, random: Random) -> Iterator[None]:
    """A small file system in the folder of results, where the fault asks for it."""
    if fault.disk is None:
        yield
        return
    out.mkdir()
    size = f"size={random.randint(1, fault.disk)}m"
    subprocess.run([*_TMPFS, size, "tmpfs", out], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", out], check=True)


if __name__ == "__main__":
    sys.exit(main())
