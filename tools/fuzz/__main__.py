"""`python -m tools.fuzz`: try made files, and report what onnxplain does with them."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from tools.fuzz.driver import CHUNK, Driver, replay
from tools.fuzz.report import findings, lines


def main() -> int:
    """Run what the command line asks for; the exit status is 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="time; default 2")
    parser.add_argument("--cases", type=int, help="most cases of all kinds together")
    parser.add_argument("--seed", type=int, default=1, help="what the cases are made from")
    parser.add_argument("--workers", type=int, default=1, help="processes; default 1")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="folder of findings")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="try one finding again")
    asked = parser.parse_args()
    if asked.replay is not None:
        outcome = replay(asked.replay)
        print(outcome["what"], outcome["reason"] or "explained", *outcome["findings"], sep="\n")
        return 1 if outcome["findings"] else 0
    shutil.rmtree(asked.out, ignore_errors=True)
    began = time.monotonic()
    chunks = None if asked.cases is None else -(-asked.cases // CHUNK)
    done = Driver(asked.seed, asked.minutes, chunks, asked.out).run(asked.workers)
    count, seconds = sum(len(chunk.outcomes) for chunk in done), time.monotonic() - began
    print(f"{count:,} cases with seed {asked.seed} in {seconds / 60:.1f} minutes.\n")
    print(*lines(done), sep="\n")
    return 1 if findings(done) else 0


if __name__ == "__main__":
    sys.exit(main())
