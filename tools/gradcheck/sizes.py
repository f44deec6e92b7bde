"""Checking one node with its sizes known, with only the batch unknown, and with none known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto
from onnx.helper import make_tensor_value_info, np_dtype_to_tensor_dtype

from onnxplain.tensors import Array
from tools.gradcheck.check import check_gradient
from tools.gradcheck.nodes import single_node
from tools.gradcheck.reference import Feeds, onnxruntime_function


def check_node(
    op: str,
    inputs: Mapping[str, Array | None],
    *,
    constants: Collection[str] = (),
    batched: Collection[str] = (),
    **given: Any,
) -> None:
    """Check a node with static sizes, with unknown sizes, and with only the batch unknown.

    Args:
        op: operator.
        inputs: arrays by name, in order; None for one left out.
        constants: inputs that are initializers.
        batched: inputs whose first axis is the batch; if empty, that form is not checked.
        given: `opset`, `outputs`, attributes: the arguments of `single_node`.
    """
    feeds = {k: v for k, v in inputs.items() if v is not None and k not in constants}

    def check(dynamic: bool, batched: Collection[str] = ()) -> None:
        model = single_node(op, inputs, constants=constants, dynamic=dynamic, **given)
        for value in model.graph.input:
            if value.name in batched:
                value.type.tensor_type.shape.dim[0].dim_param = "N"
        _declare_ranks(model, feeds)
        check_gradient(model, feeds)

    check(dynamic=False)
    check(dynamic=True)
    if batched:
        check(dynamic=False, batched=batched)


def _declare_ranks(model: ModelProto, feeds: Feeds) -> None:
    """Declare the ranks of outputs: scores need them, and not all of them can be inferred."""
    for value, array in zip(model.graph.output, onnxruntime_function(model)(feeds), strict=True):
        shape = [f"{value.name}_{axis}" for axis in range(array.ndim)]
        dtype = np_dtype_to_tensor_dtype(array.dtype)
        value.CopyFrom(make_tensor_value_info(value.name, dtype, shape))


def ints(*values: int) -> Array:
    """A vector of int64."""
    return np.array(values, np.int64)
