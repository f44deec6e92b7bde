"""Reverse mode against central differences."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, version_converter

from onnxplain.autodiff.differentiate import GRADIENT, SEED, differentiate
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.rules.fast import OVERRIDES
from onnxplain.autodiff.table import DEFINITIONS, Rules
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from onnxplain.model.model import Model, opset_of
from onnxplain.tensors import Array
from tools.gradcheck.reference import (
    Feeds,
    Function,
    agrees,
    float64_function,
    onnxruntime_function,
    slope,
)

_LOWEST_OPSET = 18
_STEP = {"float64": 1e-4, "float32": 1e-2}
_OWN_NUMBERS = 8_191
"""A seed that tests do not use for their points: the direction of the point itself is special."""
_FLOAT32_SLACK = 10
"""The factor by which differences in float32 are less exact."""


def check_gradient(
    model: ModelProto,
    feeds: Feeds,
    wanted: Sequence[str] | None = None,
    *,
    outputs: Sequence[str] | None = None,
    rtol: float = 2e-3,
    atol: float = 1e-5,
) -> float:
    """Compare ⟨seed, J v⟩ with central differences for two random seeds and directions each.

    Every single float output is a score; if there are several, all of them together are one more
    score. Every float input is changed separately. An output without a gradient for an input must
    not change with this input.

    Differences are taken of onnx's ReferenceEvaluator in float64. If that fails or disagrees with
    ONNX Runtime, they are taken of ONNX Runtime in float32, with ten times the tolerance.

    The gradient must also be finite and have the shape of its input, and the outputs must not
    change. If rules have faster forms, the definitions must give the same gradients.

    Args:
        model: of any opset; below 18 it is converted.
        feeds: arrays by input name, of any type.
        wanted: tensors fed to differentiate by; default every float32 one.
        outputs: outputs to differentiate; default every float32 one.
        rtol: allowed error, as a fraction of the norm of the gradient.
        atol: allowed error where the gradient is (nearly) zero.

    Returns:
        The largest error found, as a fraction of the norm of its gradient.
    """
    loaded = load(_raised(model))
    names = [value.name for value in loaded.proto.graph.output]
    run = onnxruntime_function(loaded.proto)
    expected = run(feeds)
    by_name = dict(zip(names, expected, strict=True))
    wanted = wanted or [name for name, value in feeds.items() if _is_float(value)]
    outputs = outputs or [name for name, value in by_name.items() if _is_float(value)]
    function, precision = float64_function(loaded.proto), "float64"
    if not agrees(function, feeds, expected):
        function, precision = run, "float32"
        rtol, atol = rtol * _FLOAT32_SLACK, atol * _FLOAT32_SLACK
    overridden = any(node.op_type in OVERRIDES for node in loaded.proto.graph.node)
    scores = [[name] for name in outputs] + ([outputs] if len(outputs) > 1 else [])
    worst = 0.0
    for number, score in enumerate(scores):
        rng = np.random.default_rng([_OWN_NUMBERS, number])
        for _ in range(2):
            seeds = {name: _random(rng, by_name[name]) for name in score}
            found = _gradients_or_zeros(loaded, feeds, seeds, wanted, STANDARD)
            if overridden:
                _agree(found, _gradients_or_zeros(loaded, feeds, seeds, wanted, DEFINITIONS))
            for name in wanted:
                direction = _random(rng, feeds[name]).astype(precision)
                ordered = [seeds.get(name) for name in names]
                actual = slope(function, feeds, name, direction, ordered, _STEP[precision])
                worst = max(worst, _compare(found[name], direction, actual, rtol, atol, name))
    return worst


def _gradients_or_zeros(
    model: Model, feeds: Feeds, seeds: Feeds, wanted: Sequence[str], rules: Rules
) -> dict[str, Array]:
    """Zeros for inputs without a gradient, if there are others that have one."""
    try:
        return gradients(model, feeds, seeds, wanted, rules=rules)
    except GradientError:
        found: dict[str, Array] = {}
        for name in wanted:
            with contextlib.suppress(GradientError):
                found |= gradients(model, feeds, seeds, [name], rules=rules)
        if not found:
            raise
        return {name: np.zeros_like(feeds[name]) for name in wanted} | found


def gradients(
    model: Model | ModelProto,
    feeds: Feeds,
    seeds: Feeds,
    wanted: Sequence[str],
    runtime: Callable[[ModelProto], Function] = onnxruntime_function,
    rules: Rules = STANDARD,
) -> dict[str, Array]:
    """Σ seeds · ∂outputs/∂wanted by the package, with the shapes and finiteness checked.

    `runtime` turns both models into functions: the model, and the model with the gradient.
    """
    model = model if isinstance(model, Model) else load(_raised(model))
    outputs = [value.name for value in model.proto.graph.output]
    score, seed, head = _joined(model, seeds)
    # Seeds of one score are fed to the same graph, which takes longer to write than to run.
    differentiated = head.once(
        ("gradcheck", score, tuple(wanted), rules),
        lambda: _checked(model, differentiate(head, score, wanted, outputs, rules)),
    )
    answers = runtime(differentiated.proto)({**feeds, SEED: seed})
    found = dict(zip([v.name for v in differentiated.proto.graph.output], answers, strict=True))
    for name, value in zip(outputs, runtime(model.proto)(feeds), strict=True):
        np.testing.assert_array_equal(found[name], value, f"output {name!r} has changed")
    for name in wanted:
        gradient = found[GRADIENT + name]
        assert gradient.shape == feeds[name].shape, f"d{name}: {gradient.shape}"
        assert np.isfinite(gradient).all(), f"d{name} is not finite: {gradient}"
    return {name: found[GRADIENT + name] for name in wanted}


def _checked(model: Model, differentiated: Model) -> Model:
    if _is_standard(model.proto):
        onnx.checker.check_model(differentiated.proto)
    return differentiated


def _is_standard(model: ModelProto) -> bool:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        return False  # for example GroupNormalization of opset 18, deprecated from the start
    return True


def _joined(model: Model, seeds: Feeds) -> tuple[str, Array, Model]:
    """One score from several: Σ seed · output; the seeds are constants of the graph."""
    if len(seeds) == 1:
        ((name, seed),) = seeds.items()
        return name, seed, model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for i, (name, seed) in enumerate(seeds.items()):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(seed, f"seed{i}"))
        proto.graph.node.append(helper.make_node("Mul", [name, f"seed{i}"], [f"term{i}"]))
        proto.graph.node.append(
            helper.make_node("ReduceSum", [f"term{i}"], [f"part{i}"], keepdims=0)
        )
    parts = [f"part{i}" for i in range(len(seeds))]
    proto.graph.node.append(helper.make_node("Sum", parts, ["joint_score"]))
    proto.graph.output.append(helper.make_tensor_value_info("joint_score", TensorProto.FLOAT, []))
    joined = load(proto)
    return "joint_score", np.ones((), np.float32), joined


def _agree(fast: Mapping[str, Array], defined: Mapping[str, Array]) -> None:
    """Faster forms of rules must give the same as the definitions, up to rounding."""
    for name, gradient in defined.items():
        size = float(np.abs(gradient).max(initial=1))
        np.testing.assert_allclose(fast[name], gradient, 1e-4, 1e-5 * size, err_msg=name)


def _compare(
    gradient: Array, direction: Array, actual: float, rtol: float, atol: float, name: str
) -> float:
    """Random directions of unit variance make |⟨g, v⟩| about as large as the norm of g."""
    product = float(np.sum(np.float64(gradient) * direction))
    size = max(float(np.linalg.norm(gradient)), abs(actual))
    error = abs(product - actual)
    assert error <= rtol * size + atol, (
        f"along {name!r} the gradient says {product:.6g}, the difference {actual:.6g} "
        f"(norm of the gradient {size:.6g})"
    )
    return error / size if size else 0.0


def _raised(model: ModelProto) -> ModelProto:
    if opset_of(model) >= _LOWEST_OPSET:
        return model
    return version_converter.convert_version(model, _LOWEST_OPSET)


def _random(rng: np.random.Generator, like: Array) -> Array:
    return np.asarray(rng.normal(size=like.shape), np.float32)


def _is_float(value: object) -> bool:
    return getattr(value, "dtype", None) == np.float32
