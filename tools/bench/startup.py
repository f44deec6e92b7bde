"""The time that the command line takes apart from forwards."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def help_seconds(rounds: int) -> float:
    """Median wall time of `onnxplain --help`."""
    return statistics.median(_wall(["--help"]) for _ in range(rounds))


def overhead_seconds(model: Path, picture: Path, rounds: int) -> float:
    """Median wall time of `onnxplain run` with a method of one forward."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["run", str(model), str(picture), "--method", "cam", "--out", folder, "--json"]
        return statistics.median(_wall(command) for _ in range(rounds))


def _wall(arguments: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "onnxplain", *arguments], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    if "--json" in arguments:
        json.loads(done.stdout)
    return seconds
