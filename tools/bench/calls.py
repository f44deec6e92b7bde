"""What a user's call costs: run with `python -m tools.bench.calls [FILE...]`.

Each model is measured in a process of its own, because the threads of other sessions go on spinning
for a while. Every figure is a median, in plain forwards of the same model at batch 1 on all threads
that were measured in the same rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import onnxplain

_MODELS = Path(__file__).parents[2] / "models"
_DEFAULT = (_MODELS / "efficientnet_lite0.onnx", _MODELS / "squeezenet1_1.onnx")
_PICTURE = _MODELS / "pictures" / "coffee.png"
_PICTURE_SIDE = 400

_IN_A_ROW = 12
_PAUSE = 0.05
"""Seconds after which threads of the session before no longer spin."""

_STEPS = 20

Run = Callable[[], object]

METHODS: Mapping[str, Mapping[str, Any]] = {
    "gradcam": {},
    "hirescam": {},
    "gradient": {},
    "input_x_gradient": {},
    "guided_backprop": {},
    "lrp": {},
    "integrated_gradients": {"steps": _STEPS},
    "smoothgrad": {"samples": _STEPS},
}
"""Options by method. A method with steps or samples is told per step."""


def measure(path: Path, rounds: int) -> dict[str, float]:
    """Milliseconds of a plain forward, then forwards of each call, on one model."""
    explainer = onnxplain.Explainer(path, provider="cpu")
    name = explainer.input.name
    shape = [d if isinstance(d, int) else 224 for d in (explainer.input.shape or ())[1:]]
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    plain = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    runs: dict[str, Run] = {"forward": lambda: plain.run(None, {name: x})}
    for method, options in METHODS.items():
        runs[method] = _attribute(explainer, x, method, options)
    seconds = _medians(runs, rounds)
    forward = seconds.pop("forward")
    per_call = {m: s / forward / max(1, *METHODS[m].values(), 1) for m, s in seconds.items()}
    return {"forward": 1000 * forward} | per_call


def measure_files(path: Path, rounds: int) -> dict[str, float]:
    """From a picture's file to files, with gradcam."""
    explainer = onnxplain.Explainer(path, provider="cpu")
    name = explainer.input.name
    plain = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as folder:
        picture = _cropped(Path(folder))
        x, _ = explainer.preprocess.apply(onnxplain.read_picture(picture))

        def saved(formats: str) -> Run:
            return lambda: explainer.explain(picture, "gradcam").save(folder, formats)

        runs: dict[str, Run] = {
            "forward": lambda: plain.run(None, {name: x}),
            "explain": lambda: explainer.explain(picture, "gradcam"),
            "npy and json": saved("npy,json"),
            "npy, json and png": saved("npy,json,png"),
        }
        seconds = _medians(runs, rounds)
    forward = seconds.pop("forward")
    return {"forward": 1000 * forward} | {name: s / forward for name, s in seconds.items()}


def _attribute(
    explainer: onnxplain.Explainer, x: np.ndarray, method: str, options: Mapping[str, Any]
) -> Run:
    baseline = {"baseline": "zeros"} if method == "integrated_gradients" else {}
    boxed = {"composite": "epsilon"} if method == "lrp" else {}
    return lambda: explainer.attribute(x, method, 3, **options, **baseline, **boxed)


def _cropped(folder: Path) -> Path:
    import cv2

    picture = cv2.imread(str(_PICTURE))
    assert picture is not None
    picture = picture[:_PICTURE_SIDE, :_PICTURE_SIDE]
    file = folder / "picture.png"
    cv2.imwrite(str(file), picture)
    return file


def _medians(runs: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """Seconds of each, the median over rounds of the median of some in a row."""
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(_PAUSE)
            run()
            found[name].append(statistics.median(_seconds(run) for _ in range(_IN_A_ROW)))
    return {name: statistics.median(times) for name, times in found.items()}


def _seconds(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _alone(
    measured: Callable[[Path, int], dict[str, float]], path: Path, rounds: int
) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (path, rounds))


def _row(name: str, found: Mapping[str, float]) -> str:
    forward, *others = found.values()
    return f"| {name} | {forward:.1f} | " + " | ".join(f"{ratio:.2f}" for ratio in others) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.calls", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=_DEFAULT)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"onnxruntime {ort.__version__}, {os.cpu_count()} cores, {platform.machine()}\n")
    print("| model | forward, ms | " + " | ".join(METHODS) + " |")
    print("| --- |" + " ---: |" * (1 + len(METHODS)))
    for path in given.files:
        print(_row(path.stem, _alone(measure, path, given.rounds)), flush=True)
    print("\nFrom a picture of 400 x 400 to files, gradcam:\n")
    print("| model | forward, ms | explain | npy and json | npy, json and png |")
    print("| --- | ---: | ---: | ---: | ---: |")
    print(_row(_DEFAULT[0].stem, _alone(measure_files, _DEFAULT[0], given.rounds)), flush=True)


if __name__ == "__main__":
    main()
