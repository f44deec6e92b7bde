"""Run with `python -m tools.bench`: a table in Markdown, every ratio measured in this one run."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path

import onnxruntime as ort

from tools.bench.methods import measure
from tools.bench.startup import help_seconds, overhead_seconds

_MODELS = Path(__file__).parents[2] / "models"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--model", type=Path, default=_MODELS / "efficientnet_lite0.onnx")
    parser.add_argument("--picture", type=Path, default=_MODELS / "pictures" / "chelsea.png")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    print(f"{given.model.name}, {given.picture.name}; onnxruntime {ort.__version__}, ", end="")
    print(f"{given.provider}, {os.cpu_count()} cores, {platform.machine()}\n")
    print("| method | forwards | seconds | ratio to as many plain forwards |")
    print("| --- | ---: | ---: | ---: |")
    for row in measure(given.model, given.picture, given.provider, given.rounds):
        print(f"| {row.title} | {row.forwards} | {row.seconds:.2f} | {row.ratio:.2f} |", flush=True)
    print(f"\n`onnxplain --help`: {help_seconds(given.rounds):.2f} s")
    overhead = overhead_seconds(given.model, given.picture, given.rounds)
    print(f"`onnxplain run --method cam`, one forward, all else included: {overhead:.2f} s")


if __name__ == "__main__":
    main()
