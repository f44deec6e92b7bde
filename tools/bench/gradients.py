"""What a gradient costs: run with `python -m tools.bench.gradients FILE...`.

All sessions and torch have the same number of threads and a batch of one. Every round takes each
run once, and ratios are medians over rounds. "build" is the time to lower and differentiate the
graph. "memory" is how much more memory a process holds after its runs than one that only runs
forwards (on Linux). "spared" is the same with `LOW_MEMORY`, which keeps no transposed copies of the
convolutions' weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import onnxplain
from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.rules import LOW_MEMORY
from onnxplain.model.model import Model
from onnxplain.tensors import FloatArray
from onnxplain.transforms.extract import with_outputs
from onnxplain.transforms.fixed_batch import with_batch

_MODELS = Path(__file__).parents[2] / "models"

_IN_A_ROW = 10

Feeds = dict[str, FloatArray]
Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One model. Sizes are in MiB; `torch` is None if torch cannot run the model."""

    name: str
    nodes: tuple[int, int]
    build: float
    forward: float
    at_input: float
    at_layer: float
    torch: float | None
    file: float
    memory: float
    spared: float

    def __str__(self) -> str:
        """As a row of the table in Markdown."""
        ours, torch = f"{self.at_input:.2f} | {self.at_layer:.2f}", "-"
        if self.torch is not None:
            torch = f"{self.torch:.2f}"
        return (
            f"| {self.name} | {self.nodes[0]} → {self.nodes[1]} | {self.build:.2f} "
            f"| {1000 * self.forward:.1f} | {ours} | {torch} "
            f"| {self.file:+.2f} | {self.memory:+.0f} | {self.spared:+.0f} |"
        )


HEADER = (
    "| model | nodes | build, s | forward, ms | with input gradient, forwards "
    "| with layer gradient, forwards | with input gradient, of torch's | file, MiB "
    "| memory, MiB | spared, MiB |\n|" + " --- |" + " ---: |" * 9
)


def measure(path: Path, threads: int, rounds: int) -> Row:
    """Measure one model file on noise, for its first class."""
    explainer = onnxplain.Explainer(path, provider="cpu")
    picture, score = explainer.input.name, explainer.score_tensor.logit
    shape = [d if isinstance(d, int) else 224 for d in (explainer.input.shape or ())[1:]]
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    layer = explainer.layer("auto", x).tensor
    one = with_batch(explainer.model, picture, 1)

    began = time.perf_counter()
    ready = lower(one)
    whole = differentiate(ready, score, [picture], [score])
    build = time.perf_counter() - began
    part = differentiate(ready, score, [layer], [score, layer])
    spared = differentiate(ready, score, [picture], [score], LOW_MEMORY)
    forward = with_outputs(one, [score])

    plain = {picture: x}
    seed = np.zeros_like(_open(forward, threads).run(None, plain)[0])
    seed.reshape(-1)[0] = 1
    fed = {**plain, SEED: seed}
    runs = [_run(forward, threads, plain), _run(whole, threads, fed), _run(part, threads, fed)]
    runs += _torch(path, x, seed, threads)
    times = [_in_turn(runs) for _ in range(rounds)]
    held = _memory(forward, threads, plain)
    return Row(
        name=path.stem,
        nodes=(len(explainer.model.proto.graph.node), len(whole.proto.graph.node)),
        build=build,
        forward=statistics.median(t[0] for t in times),
        at_input=statistics.median(t[1] / t[0] for t in times),
        at_layer=statistics.median(t[2] / t[0] for t in times),
        torch=statistics.median(t[1] / t[3] for t in times) if len(runs) > 3 else None,
        file=(whole.proto.ByteSize() - one.proto.ByteSize()) / 2**20,
        memory=_memory(whole, threads, fed) - held,
        spared=_memory(spared, threads, fed) - held,
    )


def _torch(path: Path, x: FloatArray, seed: FloatArray, threads: int) -> list[Run]:
    from tools.bench.torch_side import backward

    try:
        return [backward(path, x, seed, threads)]
    except Exception as error:
        print(f"torch does not run {path.name}: {type(error).__name__}")
        return []


def _in_turn(runs: Iterable[Run]) -> list[float]:
    """Seconds of each: the best of some runs, as threads of the run before spin for a while."""
    return [min(_seconds(run) for _ in range(_IN_A_ROW)) for run in runs]


def _seconds(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _open(model: Model, threads: int) -> Any:
    return _session(model.proto.SerializeToString(), model.folder, threads)


def _session(proto: bytes, folder: Path | None, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(folder))
    return ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"])


def _run(model: Model, threads: int, feeds: Feeds) -> Run:
    session = _open(model, threads)
    return lambda: session.run(None, feeds)


def _memory(model: Model, threads: int, feeds: Feeds) -> float:
    """Memory that a new process holds after it has run the model."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_held, (model.proto.SerializeToString(), model.folder, threads, feeds))


def _held(proto: bytes, folder: Path | None, threads: int, feeds: Feeds) -> float:
    session = _session(proto, folder, threads)
    for _ in range(3):
        session.run(None, feeds)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.gradients",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shipped = sorted(_MODELS.glob("*.onnx"))
    parser.add_argument("models", type=Path, nargs="*", default=shipped)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"onnxruntime {ort.__version__}, {given.threads} threads, {platform.machine()}\n")
    print(HEADER, flush=True)
    for path in given.models:
        print(measure(path, given.threads, given.rounds), flush=True)


if __name__ == "__main__":
    main()
