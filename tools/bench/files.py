"""What an exported file costs: run with `python -m tools.bench.files [MODEL...] [--methods a,b]`.

Each file is measured in a process of its own, because threads of earlier sessions keep spinning
for a while. A row is the median over rounds, in each of which the model and the file run in turn,
for one sample. `forwards` is the time of the file in plain forward passes of the model; `each` is
that number divided by the passes that the method makes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

import onnxplain
from onnxplain.errors import OnnxplainError

_MODELS = Path(__file__).parents[2] / "models"
_DEFAULT = (_MODELS / "efficientnet_lite0.onnx", _MODELS / "squeezenet1_1.onnx")

_STEPS = 20

METHODS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "gradcam": ({}, 1),
    "gradcam++": ({}, 1),
    "xgradcam": ({}, 1),
    "hirescam": ({}, 1),
    "layercam": ({}, 1),
    "eigencam": ({}, 1),
    "gradient": ({}, 1),
    "input_x_gradient": ({}, 1),
    "guided_backprop": ({}, 1),
    "deconvnet": ({}, 1),
    "guided_gradcam": ({}, 1),
    "fullgrad": ({}, 1),
    "deeplift": ({}, 2),
    "lrp": ({}, 1),
    "integrated_gradients": ({"steps": _STEPS}, _STEPS + 2),
    "smoothgrad": ({"samples": _STEPS}, _STEPS + 1),
    "occlusion": ({"window": 64, "stride": 32}, 0),
    "rise": ({"samples": 100}, 102),
    "scorecam": ({}, 0),
    "ablationcam": ({}, 0),
    "reciprocam": ({}, 0),
}
"""By method, its options, and the number of passes; 0 where it is read from `run`."""


@dataclass(frozen=True)
class Row:
    """What one file costs; `passes` are those of the method, `nodes` those of file and model."""

    method: str
    forward_ms: float
    forwards: float
    passes: int
    nodes: tuple[int, int]
    more_bytes: int

    def __str__(self) -> str:
        each = self.forwards / self.passes
        added = f"{self.more_bytes / 1e3:.0f} kB"
        return (
            f"| {self.method} | {self.forwards:.2f} | {self.passes} | {each:.2f} | "
            f"{self.nodes[0]} of {self.nodes[1]} | {added} |"
        )


def measure(path: Path, method: str, threads: int, rounds: int, batch: int | None) -> Row:
    """The cost of the file of one method."""
    options, passes = METHODS[method]
    explainer = onnxplain.Explainer(path, provider="cpu")
    x = explainer.samples([_MODELS / "pictures" / "coffee.png"])[0]
    with tempfile.TemporaryDirectory() as folder:
        path_of_file = Path(folder) / "file.onnx"
        file = onnxplain.export(explainer, path_of_file, method, batch_size=batch, **options)
        size = file.stat().st_size
        nodes = [len(onnx.load(one).graph.node) for one in (file, path)]
        plain, explaining = (_session(one, threads) for one in (path, file))
    feeds = {explainer.input.name: x, "target": np.array([-1])}
    calls = [
        lambda: plain.run(None, {explainer.input.name: x}),
        lambda: explaining.run(None, feeds),
    ]
    forward, whole = zip(*(map(_seconds, calls) for _ in range(rounds)), strict=True)
    ratio = statistics.median(b / a for a, b in zip(forward, whole, strict=True))
    return Row(
        method,
        1e3 * statistics.median(forward),
        ratio,
        passes or _counted(explainer, x, method, options),
        (nodes[0], nodes[1]),
        size - path.stat().st_size,
    )


def _counted(
    explainer: onnxplain.Explainer, x: Any, method: str, options: Mapping[str, Any]
) -> int:
    """The passes that `run` counts, of the whole model or of its head."""
    about = explainer.attribute(x, method, "top1", **options).diagnostics["samples"][0]
    return sum(count for name, count in about.items() if name.endswith("_passes"))


def _session(path: Path, threads: int) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    return ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


def _seconds(call: Callable[[], object]) -> float:
    """The median time of a call, after one that is not counted; long calls run once."""
    call()
    taken: list[float] = []
    while len(taken) < 7 and sum(taken) < 1:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def rows(
    path: Path, methods: list[str], threads: int, rounds: int, batch: int | None
) -> Iterator[Row | str]:
    """A row for each method, or why there is none."""
    for method in methods:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            try:
                yield pool.apply(measure, (path, method, threads, rounds, batch))
            except OnnxplainError as error:
                yield f"{method}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.files", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, default=_DEFAULT)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--threads", type=int, default=0, help="0 means all")
    parser.add_argument("--batch-size", type=int, help="fix it in the files")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"onnxruntime {ort.__version__}, {os.cpu_count()} cores, {platform.machine()}, ", end="")
    print(f"threads: {given.threads or 'all'}")
    for path in given.models:
        refused = []
        print(f"\n{path.name}\n\n| file | forwards | passes | each | nodes | larger by |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        methods = given.methods.split(",")
        for row in rows(path, methods, given.threads, given.rounds, given.batch_size):
            if isinstance(row, str):
                refused.append(row)
            else:
                print(row, flush=True)
        print("\n".join(["", *refused]))


if __name__ == "__main__":
    main()
