"""What must hold of the maps of a valid model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxplain import Explainer
from onnxplain.errors import OnnxplainError
from onnxplain.tensors import Array
from tools.fuzz.case import GIVEN, Case
from tools.fuzz.judge import Verdict
from tools.fuzz.models import METHODS, sample_array
from tools.gradcheck.reference import (
    Feeds,
    Function,
    agrees,
    doubled,
    float64_function,
    onnxruntime_function,
    slope,
)

DERIVES, BATCHES, REPEATS = (
    "a gradient is the slope",
    "no effect of batches and threads",
    "the same bytes again",
)
"""Oracles of maps."""

_CLASS = 0

_WAYS: Sequence[Mapping[str, Any]] = (
    {"batch_size": 1, "threads": 1},
    {"batch_size": 3, "threads": 1},
    {"threads": 2},
)


def map_verdicts(case: Case, folder: Path) -> Iterator[Verdict]:
    """Judge the maps of a valid model. What is refused has no verdict."""
    path, facts = folder / GIVEN / "model.onnx", case.facts
    rng = np.random.default_rng(5)
    dtype, shape = np.dtype(facts["dtype"]), tuple(facts["shape"])
    x = np.concatenate([sample_array(shape, dtype, rng) for _ in range(2)])
    if facts["compared"]:
        yield from _of_batches(path, x, facts)
    if facts["exact"] and dtype == np.float32:
        yield from _of_gradients(path, x[:1], facts)


def _of_batches(path: Path, x: Array, facts: Any) -> Iterator[Verdict]:
    method = facts["method"]
    if method == "activation_maximization":  # it takes no samples
        return
    try:
        first, *others, again = (
            Explainer(path, provider="cpu", inputs=facts["other"], **way).attribute(
                x, method, **METHODS[method]
            )
            for way in (*_WAYS, _WAYS[1])
        )
    except OnnxplainError:
        return
    for way, other in zip(_WAYS[1:], others, strict=True):
        yield Verdict(BATCHES, _difference(first.values, other.values, str(way)))
    same = np.array_equal(others[0].values, again.values, equal_nan=True)
    yield Verdict(REPEATS, "" if same else f"{method} differs for the same settings")


def _difference(first: Array, other: Array, way: str) -> str:
    if first.shape != other.shape:
        return f"{way}: shape {other.shape} instead of {first.shape}"
    size = float(np.abs(first).max(initial=0))
    largest = float(np.abs(first - other).max(initial=0))
    # Differences of scores have the rounding of the scores, which normalizations enlarge.
    return "" if largest <= 2e-3 * size + 5e-5 else f"{way}: differs by {largest:g} of {size:g}"


def _of_gradients(path: Path, x: Array, facts: Any) -> Iterator[Verdict]:
    explainer = Explainer(path, provider="cpu", inputs=facts["other"], threads=1)
    try:
        found = explainer.attribute(x, "gradient", _CLASS)
        logit = explainer.score_tensor.logit
    except OnnxplainError:
        return
    score = _score(onnx.load(path), logit)
    feeds = {"x": x, **{k: np.asarray(v, np.float32) for k, v in facts["other"].items()}}
    if _takes_other_batches(score):
        return
    expected = onnxruntime_function(score)(feeds)
    if expected[0].ndim != 2:
        return
    seed = np.zeros(expected[0].shape)
    seed[0, _CLASS] = 1
    doubles = {name: value.astype(np.float64) for name, value in feeds.items()}
    ways = (float64_function(score), _in_float64(score))
    function = next((way for way in ways if agrees(way, doubles, expected)), None)
    finding = None if function is None else _compared(function, doubles, found.values, seed)
    if finding is not None:
        yield Verdict(DERIVES, finding)


def _takes_other_batches(model: onnx.ModelProto) -> bool:
    """Whether the model itself does not take one sample."""
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    return bool(first.HasField("dim_value") and first.dim_value != 1)


def _score(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with the tensor `name` as its only output."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return part


def _in_float64(model: onnx.ModelProto) -> Function:
    """The model in ONNX Runtime with every float turned into float64, for what onnx cannot run."""

    def run(feeds: Feeds) -> list[Array]:
        # Opened here, where the caller handles what ONNX Runtime has no float64 kernels for.
        return onnxruntime_function(doubled(model))(feeds)

    return run


def _compared(function: Function, feeds: Feeds, gradient: Array, seed: Array) -> str | None:
    """What is wrong with a gradient along a direction; None if there is a kink along each."""
    rng = np.random.default_rng(11)
    for _ in range(3):
        direction: Array = rng.normal(size=feeds["x"].shape)
        actual, near = (slope(function, feeds, "x", direction, [seed], step) for step in _STEPS)
        said = float(np.sum(gradient.astype(np.float64) * direction))
        size = max(float(np.linalg.norm(gradient)), abs(actual))
        if not np.isfinite(actual) or abs(actual - near) > 1e-3 * size + 1e-7:
            continue
        wrong = abs(said - actual) > 2e-3 * size + 1e-5
        words = f"the gradient says {said:g} and the slope is {actual:g} (of {size:g})"
        return words if wrong else ""
    return None


_STEPS = 1e-5, 1e-7
"""Steps of two differences, which differ where there is a kink between."""
