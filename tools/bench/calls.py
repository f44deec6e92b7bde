"""What a user's call costs: run with `python -m tools.bench.calls [FILE...]`.

Each model is measured in its own process, because threads of earlier sessions keep spinning for a
while. Every figure is a median. Its unit is the time of a plain forward pass of the same model, at
batch 1 on all threads, measured in the same rounds. The second figure of a call is the cost of its
bare graph: ONNX Runtime runs the model with the gradient that the method wants, computed by the
method's own rules, and is fed the seed.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import onnxplain
from onnxplain.autodiff.differentiate import SEED, differentiate
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.rules import STANDARD
from onnxplain.errors import OnnxplainError
from onnxplain.execution.wants import InputGradient, LayerGradient
from onnxplain.jobs.inputs import InputImage
from onnxplain.jobs.job import Job, Saving
from onnxplain.methods.base import Method, SinglePassMethod
from onnxplain.methods.registry import make_method
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.tensors import Array
from onnxplain.transforms.fixed_batch import with_batch

_MODELS = Path(__file__).parents[2] / "models"
_DEFAULT = (_MODELS / "efficientnet_lite0.onnx", _MODELS / "squeezenet1_1.onnx")
_PICTURE = _MODELS / "pictures" / "coffee.png"
_PICTURE_SIDE = 400
_PICTURES = 32

_IN_A_ROW = 12
_PAUSE = 0.05
"""Seconds after which threads of the session before no longer spin."""

_STEPS = 20

Run = Callable[[], object]


@dataclass(frozen=True)
class Call:
    """A method with its options; with `steps`, the cost of one step is reported."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1

    @property
    def bare(self) -> str:
        """The name of its bare graph."""
        return f"bare {self.method}"


CALLS = (
    Call("gradcam"),
    Call("layercam"),
    Call("gradient"),
    Call("guided_backprop"),
    Call("lrp", {"composite": "epsilon"}),
    Call("integrated_gradients", {"steps": _STEPS, "baseline": "zeros"}, _STEPS),
    Call("smoothgrad", {"samples": _STEPS}, _STEPS),
)


def measure(path: Path, rounds: int) -> dict[str, float]:
    """Milliseconds of a plain forward, then forwards that each call and its bare graph cost."""
    explainer = onnxplain.Explainer(path, provider="cpu")
    name = explainer.input.name
    shape = [d if isinstance(d, int) else 224 for d in (explainer.input.shape or ())[1:]]
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    plain = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    runs: dict[str, Run] = {"forward": lambda: plain.run(None, {name: x})}
    for call in CALLS:
        runs[call.method] = _attribute(explainer, x, call)
        runs[call.bare] = _bare(explainer, x, make_method(call.method, call.options))
    seconds = _medians(runs, rounds)
    forward = seconds.pop("forward")
    for call in CALLS:
        seconds[call.method] /= call.steps
    return {"forward": 1000 * forward} | {name: one / forward for name, one in seconds.items()}


def measure_files(path: Path, rounds: int) -> dict[str, float]:
    """From picture files to saved files, with gradcam: per picture of a folder, and of one."""
    explainer = onnxplain.Explainer(path, provider="cpu")
    name = explainer.input.name
    plain = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as folder:
        picture = _cropped(Path(folder))
        x, _ = explainer.preprocess.apply(onnxplain.read_picture(picture))
        pictures = [picture] * _PICTURES

        # A new name each time, as in a job: on some file systems replacing a file waits for the
        # disk.
        numbers = itertools.count()

        def job(formats: str) -> Run:
            saving = Saving(Path(folder), formats.split(","), DEFAULT_COLORMAP)
            work = Job(explainer, "gradcam", ["top1"], saving)
            return lambda: list(work.run([_image(one, next(numbers)) for one in pictures]))

        of_a_folder = {
            "explain": lambda: list(explainer.explain_many(pictures, "gradcam")),
            "npy and json": job("npy,json"),
            "npy, json and png": job("npy,json,png"),
        }
        seconds = _medians(
            {
                "forward": lambda: plain.run(None, {name: x}),
                "decode": lambda: onnxplain.read_picture(picture),
                "explain one": lambda: explainer.explain(picture, "gradcam"),
                **of_a_folder,
            },
            rounds,
        )
    forward = seconds.pop("forward")
    for of_many in of_a_folder:
        seconds[of_many] /= _PICTURES
    return {"forward": 1000 * forward} | {name: s / forward for name, s in seconds.items()}


def _image(picture: Path, number: int) -> InputImage:
    return InputImage(picture, name=f"picture-{number}", title=picture.name)


def _bare(explainer: onnxplain.Explainer, x: Array, method: Method) -> Run:
    """One run of the gradient that a method wants; at the input if it wants many.

    The run raises OnnxplainError where the model has no such gradient.
    """
    wants = method.wants if isinstance(method, SinglePassMethod) else ()
    rules = next((want.rules for want in wants if isinstance(want, InputGradient)), STANDARD)
    name, score = explainer.input.name, explainer.score_tensor.logit
    by = explainer.layer("auto", x).tensor if LayerGradient() in wants else name
    model = lower(with_batch(explainer.model, name, 1))

    @functools.cache
    def opened() -> tuple[ort.InferenceSession, Array]:
        graph = differentiate(model, score, [by], [score], rules)
        session = ort.InferenceSession(
            graph.proto.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (declared,) = (value for value in session.get_inputs() if value.name == SEED)
        seed = np.zeros([d if isinstance(d, int) else 1 for d in declared.shape], np.float32)
        seed.reshape(-1)[0] = 1
        return session, seed

    def run() -> object:
        session, seed = opened()
        return session.run(None, {name: x, SEED: seed})

    return run


def _attribute(explainer: onnxplain.Explainer, x: Array, call: Call) -> Run:
    return lambda: explainer.attribute(x, call.method, 3, **call.options)


def _cropped(folder: Path) -> Path:
    import cv2

    picture = cv2.imread(str(_PICTURE))
    assert picture is not None
    file = folder / "picture.png"
    cv2.imwrite(str(file), picture[:_PICTURE_SIDE, :_PICTURE_SIDE])
    return file


def _medians(runs: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """Seconds of each run: the median over rounds of the median of some consecutive runs.

    NaN for a run that the model does not support.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(_PAUSE)
            try:
                run()
                found[name].append(statistics.median(_seconds(run) for _ in range(_IN_A_ROW)))
            except OnnxplainError:
                found[name].append(float("nan"))
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


def _row(name: str, forward: float, *cells: str) -> str:
    return f"| {name} | {forward:.1f} | {' | '.join(cells)} |"


def _calls(name: str, found: Mapping[str, float]) -> str:
    pairs = (f"{found[call.method]:.2f} / {found[call.bare]:.2f}" for call in CALLS)
    return _row(name, found["forward"], *pairs)


def _files(name: str, found: Mapping[str, float]) -> str:
    forward, *others = found.values()
    return _row(name, forward, *(f"{ratio:.2f}" for ratio in others))


def _head(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n| --- |" + " ---: |" * (len(columns) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.calls", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=_DEFAULT)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"onnxruntime {ort.__version__}, {os.cpu_count()} cores, {platform.machine()}\n")
    print("Calls / their bare graphs:\n")
    print(_head("model", "forward, ms", *(call.method for call in CALLS)))
    for path in given.files:
        print(_calls(path.stem, _alone(measure, path, given.rounds)), flush=True)
    print("\nFrom a picture of 400 x 400 to files, gradcam:\n")
    columns = "decode", "one picture", "folder", "npy and json", "npy, json and png"
    print(_head("model", "forward, ms", *columns))
    print(_files(_DEFAULT[0].stem, _alone(measure_files, _DEFAULT[0], given.rounds)), flush=True)


if __name__ == "__main__":
    main()
