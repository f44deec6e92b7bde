"""Runs a model in ONNX Runtime alone, to see whether a crash or a hang is that of ONNX Runtime."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

from tools.fuzz.limits import ADDRESSES, SECONDS


def fails_alone(model: Path) -> bool:
    """Whether a process that runs the model in ONNX Runtime alone crashes, or does not end."""
    command = [sys.executable, "-m", "tools.fuzz.alone", str(model)]
    try:
        done = subprocess.run(command, timeout=SECONDS, check=False, capture_output=True)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def _run(model: str) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
    feeds = {}
    for value in session.get_inputs():
        sizes = [size if isinstance(size, int) else 8 for size in value.shape]
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        kind = {"float": "float32", "double": "float64"}.get(kind, kind)
        feeds[value.name] = np.ones(sizes, np.dtype(kind))
    session.run(None, feeds)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A refusal is no crash.
    with contextlib.suppress(Exception):
        _run(sys.argv[1])
