"""The functions with which rules write nodes, checked with ONNX Runtime's arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.rules.fast.elementwise import ramps
from onnxplain.tensors import Array

Kind = Callable[[GradientBuilder], GradientBuilder]

LIMITS = [0.0, 6.0, -3.0, 1.0, 0.1, -0.3, 1e-30, 255.0, 1e6, float(np.finfo(np.float32).max)]


def neighbors(limit: float) -> Array:
    """The limit, the next numbers on both sides, and distant numbers, repeated."""
    at = np.float32(limit)
    with np.errstate(over="ignore"):  # only infinity is above the largest number
        near = [at, *(np.nextafter(at, np.float32(way)) for way in (-np.inf, np.inf))]
    far = [0, 1e-20, -1e-20, 5, -5, 1e30, -1e30, np.inf, -np.inf]
    values = np.array([*near, *far] * 3, np.float32)
    return values[(values == 0) | (np.abs(values) >= np.finfo(np.float32).tiny)]


def masks(kind: Kind, x: Array, limit: float) -> list[Array]:
    """`above` and `below` in ONNX Runtime."""
    g = kind(GradientBuilder(20, {}, lambda _: None))
    source = gs.Variable("x", np.float32, list(x.shape))
    results = [g.above(source, limit), g.below(source, limit)]
    for result in results:
        result.dtype = np.float32
    g.graph.inputs, g.graph.outputs = [source], results
    proto = gs.export_onnx(g.graph, ir_version=9)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize("kind", [lambda g: g, ramps], ids=["comparison", "ramp"])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_mask_ends_between_a_limit_and_the_next_number(limit: float, kind: Kind) -> None:
    x, at = neighbors(limit), np.float32(limit)
    above, below = masks(kind, x, limit)
    np.testing.assert_array_equal(above, (x > at).astype(np.float32))
    np.testing.assert_array_equal(below, (x < at).astype(np.float32))
