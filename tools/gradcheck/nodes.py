"""Small models, and arrays at which they are differentiated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper, numpy_helper
from onnx.helper import np_dtype_to_tensor_dtype

from onnxplain.model.shapes import infer_specs
from onnxplain.tensors import Array


def single_node(
    op: str,
    inputs: Mapping[str, Array | None],
    *,
    outputs: int = 1,
    opset: int = 21,
    constants: Collection[str] = (),
    dynamic: bool = False,
    domain: str = "",
    **attributes: Any,
) -> ModelProto:
    """A model of one node, whose inputs are those of `inputs`, in order; outputs are y0, y1, ...

    An input that is None is left out. Inputs named in `constants` become initializers with the
    given value. The others are inputs of the model; with `dynamic`, their sizes are unknown.
    """
    given = {name: value for name, value in inputs.items() if value is not None}
    names = [name if name in given else "" for name in inputs]
    made = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, made, f"the_{op}", domain=domain, **attributes)],
        "one_node",
        [_declared(n, value, dynamic) for n, value in given.items() if n not in constants],
        [ValueInfoProto(name=name) for name in made],
        [numpy_helper.from_array(given[name], name) for name in constants if name in given],
    )
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    specs = infer_specs(model)
    for value in model.graph.output:
        if value.name in specs and specs[value.name].dtype != object:
            spec = specs[value.name]
            dtype = np_dtype_to_tensor_dtype(spec.dtype)
            value.CopyFrom(helper.make_tensor_value_info(spec.name, dtype, spec.shape))
    return model


def _declared(name: str, value: Array, dynamic: bool) -> ValueInfoProto:
    shape = [f"{name}_{axis}" for axis in range(value.ndim)] if dynamic else value.shape
    return helper.make_tensor_value_info(name, np_dtype_to_tensor_dtype(value.dtype), shape)


def normal(*shape: int, seed: int = 0) -> Array:
    """Standard normal float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def uniform(*shape: int, low: float = 0.5, high: float = 2.0, seed: int = 0) -> Array:
    """Uniform float32 between `low` and `high`."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def distinct(*shape: int, step: float = 0.1, seed: int = 0) -> Array:
    """Multiples of `step` around zero in random order, none of them zero and no two equal.

    For maxima, ranks and kinks at zero: no finite difference crosses from one side to the other.
    """
    size = int(np.prod(shape))
    values = (np.arange(size) - size // 2 + 0.5) * step
    return np.random.default_rng(seed).permutation(values).reshape(shape).astype(np.float32)
