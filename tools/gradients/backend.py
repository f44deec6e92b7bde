"""ONNX's own node tests as points to differentiate at, each against finite differences.

The gradient is that of the prepared model; the differences are those of the original model. They
are computed in float64 by onnx's reference implementation, or in float32 by ONNX Runtime if the
reference fails or disagrees with it. The gradient is computed by ONNX Runtime, or by the reference
if ONNX Runtime refuses the original model, for example because its opset is too new.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, numpy_helper

from onnxplain.autodiff.lowering import lower
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.tensors import Array
from onnxplain.transforms.extract import with_outputs
from tools.gradcheck import gradients
from tools.gradcheck.reference import (
    agrees,
    float64_function,
    onnxruntime_function,
)
from tools.gradients.cases import cases, older, parameters
from tools.gradients.verdict import (
    BESIDE,
    COARSE,
    CONVENTION,
    ELSEWHERE,
    FIXED,
    KINK,
    NAN,
    NO_RULE,
    PASS,
    RANDOM,
    REFUSED,
    SEQUENCE,
    TYPE,
    WRONG,
    ZERO,
    Verdict,
)

Feeds = Mapping[str, Array]
Function = Callable[[Feeds], list[Array]]
Runtime = Callable[[ModelProto], Function]

_CONVENTIONS = {
    "DequantizeLinear": "the scale counts as a constant",
    "DynamicQuantizeLinear": "the scale counts as a constant",
}
"""By operator: where differences give another result, and why this is intended."""

_PRECISIONS = {"float64": ((1e-5, 1e-3), 1e-3), "float32": ((1e-2,), 3e-2)}
"""Steps of the differences, and allowed error as a fraction of the gradient's norm.

The longer step is for operators that the reference computes in float32 inside.
"""
_FLOATS = [np.dtype(name) for name in ("float16", "float32", "float64")]
_HUGE = 1e6
"""Larger outputs, such as those of masks, mean infinity, and would dominate a sum."""
_FLOOR = 1e-5
_AWAY = 0.03
"""How far from a kink the second point is."""


@dataclass(frozen=True)
class Subject:
    """A case, ready to be differentiated."""

    prepared: Model
    runtime: Runtime
    run: Function
    precision: str
    outputs: Sequence[str]
    wanted: Sequence[str]
    parameters: frozenset[str]


def verdicts(pattern: str = "") -> Iterator[Verdict]:
    """One per case whose name matches and that has float inputs and float outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases(pattern):
            kind, detail = _judge(case.model, case.feeds)
            meant = _CONVENTIONS.get(case.operator)
            if meant and kind in (WRONG, KINK):
                kind, detail = CONVENTION, meant
            yield Verdict(case.name, case.operator, kind, detail)


def _judge(model: ModelProto, feeds: Feeds) -> tuple[str, str]:
    if not all(isinstance(value, np.ndarray) for value in feeds.values()):
        return SEQUENCE, ""
    try:
        return _judge_in(onnxruntime_function, model, feeds)
    except _RefusedError:
        pass
    try:
        kind, detail = _judge_in(_anywhere, model, feeds)
    except _RefusedError as error:
        return REFUSED, _line(error)
    return (ELSEWHERE if kind in (PASS, BESIDE) else kind), detail


class _RefusedError(Exception):
    """The original model cannot be run."""


def _judge_in(runtime: Runtime, model: ModelProto, feeds: Feeds) -> tuple[str, str]:
    try:
        answers = runtime(model)(feeds)
    except Exception as error:
        raise _RefusedError(_line(error)) from error
    kind, detail = _judge_at(runtime, model, feeds, answers)
    if kind != NO_RULE:
        return kind, detail
    fixed = _with_constants(model, feeds)
    if len(fixed.graph.input) == len(model.graph.input):
        return kind, detail
    again, _ = _judge_at(runtime, fixed, feeds, answers)
    return (FIXED, detail) if again in (PASS, BESIDE) else (kind, detail)


def _anywhere(model: ModelProto) -> Function:
    """The model in ONNX Runtime, or in the reference if ONNX Runtime refuses it."""
    lowered = older(model)

    def run(feeds: Feeds) -> list[Array]:
        try:
            return list(onnxruntime_function(lowered)(feeds))
        except Exception:
            return list(float64_function(model)(feeds))

    return run


def _afresh(runtime: Runtime, model: ModelProto) -> Function:
    def run(feeds: Feeds) -> list[Array]:
        return runtime(model)(feeds)

    return run


def _judge_at(
    runtime: Runtime, model: ModelProto, feeds: Feeds, answers: Sequence[Array]
) -> tuple[str, str]:
    names = [value.name for value in model.graph.output]
    outputs = [n for n, y in zip(names, answers, strict=True) if _is_float(y)]
    inputs = {value.name for value in model.graph.input}
    wanted = [name for name, x in feeds.items() if _is_float(x) and name in inputs]
    if not outputs or not wanted:
        return TYPE, ""
    run, exact = runtime(model), float64_function(model)
    repeats = [agrees(run, feeds, answers) for _ in range(4)]
    if not repeats[0]:
        return RANDOM, ""
    if not all(repeats):  # with a seed, only the first draw of a session is always the same
        run = _afresh(runtime, model)
    precise = agrees(exact, feeds, answers)
    try:
        prepared = lower(load(model))
    except Exception as error:
        return NO_RULE, f"lower: {_line(error)}"
    if not precise and any(feeds[name].dtype == np.float16 for name in wanted):
        return COARSE, ""
    precision = "float64" if precise else "float32"
    function = exact if precise else run
    fixed = parameters(model)
    subject = Subject(prepared, runtime, function, precision, outputs, wanted, fixed)
    kind, detail = _look(subject, feeds)
    return (NAN, "") if kind == WRONG and _has_nan(subject, feeds) else (kind, detail)


def _with_constants(model: ModelProto, feeds: Feeds) -> ModelProto:
    """The model with fixed sizes, axes, flags and parameters, as in deployed models."""
    floats = {name for name, x in feeds.items() if _is_float(x)}
    kept = floats - parameters(model) or floats
    fixed = ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.input[:]
    for value in model.graph.input:
        if value.name in feeds and value.name not in kept:
            tensor = numpy_helper.from_array(np.asarray(feeds[value.name]), value.name)
            fixed.graph.initializer.append(tensor)
        else:
            fixed.graph.input.append(value)
    return fixed


def _has_nan(subject: Subject, feeds: Feeds) -> bool:
    made = [name for node in subject.prepared.proto.graph.node for name in node.output if name]
    try:
        values = subject.runtime(with_outputs(subject.prepared, made).proto)(feeds)
    except Exception:
        return False  # the prepared model does not run: this is the failure to report
    return any(v.dtype.kind == "f" and not np.isfinite(v).all() for v in values)


def _look(subject: Subject, feeds: Feeds) -> tuple[str, str]:
    """At the point of the case, and near it if the point is a kink."""
    try:
        kind, detail = _compare(subject, feeds)
        if kind != KINK:
            return kind, detail
        nearby = (_moved(subject, feeds, seed) for seed in range(6))
        kinds = [_compare(subject, moved)[0] for moved in nearby if _is_defined(subject, moved)]
    except GradientError as error:
        return NO_RULE, _line(error)
    except Exception as error:
        return WRONG, _line(error)
    if WRONG in kinds:
        return WRONG, "beside a kink"
    return (BESIDE, "") if PASS in kinds else (ZERO, "") if ZERO in kinds else (KINK, detail)


def _is_defined(subject: Subject, feeds: Feeds) -> bool:
    return not any(np.isnan(y).any() for y in subject.run(feeds) if _is_float(y))


def _compare(subject: Subject, feeds: Feeds) -> tuple[str, str]:
    rng = np.random.default_rng(8_191)
    answers = dict(zip(_outputs(subject), subject.run(feeds), strict=True))
    seeds = {
        name: np.where(np.abs(answers[name]) < _HUGE, _normal(rng, answers[name]), 0).astype("f4")
        for name in subject.outputs
    }
    found = _found(subject, feeds, seeds)
    for name in subject.wanted:
        if name in subject.parameters and name not in found:
            continue
        gradient = np.asarray(found.get(name, np.zeros_like(feeds[name])), np.float64)
        for direction in (_normal(rng, gradient), _normal(rng, gradient)):
            kind, detail = _along(subject, feeds, seeds, name, gradient, direction)
            if kind != PASS:
                return kind, detail
    return (PASS, subject.precision) if found else (ZERO, "")


def _along(
    subject: Subject, feeds: Feeds, seeds: Feeds, name: str, gradient: Array, direction: Array
) -> tuple[str, str]:
    """One gradient in one direction; a kink is where the slopes before and after differ."""
    steps, tolerance = _PRECISIONS[subject.precision]
    product = float(np.sum(gradient * direction))
    for step in steps:
        slopes = [_slope(subject, feeds, seeds, name, direction, end) for end in (-step, step)]
        actual = sum(slopes) / 2
        size = max(float(np.linalg.norm(gradient)), abs(actual))
        if abs(product - actual) <= tolerance * size + _FLOOR:
            return PASS, ""
    before, after = slopes
    smooth = np.isfinite(slopes).all() and abs(actual) * step < 0.1
    kinked = not smooth or abs(before - after) > tolerance * max(abs(before), abs(after))
    detail = f"d{name}: {product:.5g}, differences {before:.5g} and {after:.5g}"
    return KINK if kinked else WRONG, detail


def _found(subject: Subject, feeds: Feeds, seeds: Feeds) -> dict[str, Array]:
    """Gradients of the inputs that have one; the others are checked to be zero."""
    found: dict[str, Array] = {}
    refusals: list[GradientError] = []
    for name in subject.wanted:
        for score in [seeds] if len(seeds) == 1 else [{k: v} for k, v in seeds.items()]:
            try:
                by_name = gradients(subject.prepared, feeds, score, [name], subject.runtime)
            except GradientError as error:
                refusals.append(error)
                continue
            part = by_name[name]
            found[name] = found[name] + part if name in found else part
    unknown = [e for e in refusals if "zero everywhere" not in str(e) and "depend" not in str(e)]
    if unknown:
        raise unknown[0]
    return found


def _slope(
    subject: Subject, feeds: Feeds, seeds: Feeds, name: str, direction: Array, step: float
) -> float:
    """Σ seeds · (f(x + step v) - f(x)) / step."""

    def score(distance: float) -> float:
        moved = np.asarray(feeds[name] + distance * direction, subject.precision)
        answers = dict(zip(_outputs(subject), subject.run({**feeds, name: moved}), strict=True))
        if any(np.shape(answers[n]) != np.shape(s) for n, s in seeds.items()):
            return float("inf")  # the output has one element more or less: no derivative
        terms = (np.where(s == 0, 0, s * np.float64(answers[n])) for n, s in seeds.items())
        return float(sum(np.sum(term) for term in terms))

    return (score(step) - score(0.0)) / step


def _outputs(subject: Subject) -> list[str]:
    return [value.name for value in subject.prepared.proto.graph.output]


def _moved(subject: Subject, feeds: Feeds, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(x + _AWAY * _normal(rng, x), np.float32) if name in subject.wanted else x
        for name, x in feeds.items()
    }


def _is_float(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype in _FLOATS and value.size > 0


def _normal(rng: np.random.Generator, like: Array) -> Array:
    return np.asarray(rng.normal(size=np.shape(like)))


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
