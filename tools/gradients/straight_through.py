# mypy: disable-error-code="no-untyped-call, misc"
"""Quantized models in torch: autograd in float64, and the straight-through gradient at rounding.

Rounding counts as the identity, and torch.clamp passes a gradient within the range, including its
bounds, as in torch.fake_quantize_per_tensor_affine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, TensorProto, numpy_helper
from torch import Tensor
from torch.nn import functional

from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.tensors import FloatArray

Attributes = Mapping[str, Any]
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


class _Round(torch.autograd.Function):
    """Round to the nearest integer, halves to even; the gradient is that of the identity."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def gradient(
    model: Model, feeds: Mapping[str, FloatArray], score: str, seed: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The score, and the gradient of Σ seed · score by the only input, both in float64.

    `model` is a prepared model: all quantization is `QuantizeLinear` and `DequantizeLinear`. If the
    score itself is rounded, it also has a gradient outside the range.
    """
    ((name, array),) = feeds.items()
    base = str(model.folder or Path())
    values = {
        t.name: _double(numpy_helper.to_array(t, base)) for t in model.proto.graph.initializer
    }
    picture = _double(array).requires_grad_()
    values[name] = picture
    tail = _tail(model, score)
    for node in model.index.nodes:
        inputs: list[Any] = [values.get(tensor) for tensor in node.input]
        results = _OPERATORS[node.op_type](node, attributes(node), *inputs)
        if node.op_type == "QuantizeLinear" and node.input[0] in tail:
            results = _unclipped(results, *inputs)
        made = results if isinstance(results, tuple) else (results,)
        values.update(zip(node.output, made, strict=False))
        if score in values:
            break
    total = (values[score] * torch.from_numpy(seed)).sum()
    (found,) = torch.autograd.grad(total, [picture])
    return values[score].detach().numpy(), found.numpy()


def _unclipped(q: Tensor, x: Tensor, scale: Tensor, _: Tensor) -> Tensor:
    real = x / scale
    return real + (q - real).detach()


def _tail(model: Model, score: str) -> set[str]:
    """Tensors that hold the score before it is rounded."""
    tail, node = {score}, model.index.producer(score)
    while node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear", "Flatten"):
        tail.add(node.input[0])
        node = model.index.producer(node.input[0])
    return tail


def _double(array: Any) -> Tensor:
    """Integers keep their type, because it gives the range of quantization."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.double() if tensor.is_floating_point() else tensor


def _quantize(_: NodeProto, a: Attributes, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    limits = torch.iinfo(zero.dtype)
    scale, shift = _along(a, x, scale), _along(a, x, zero)
    return torch.clamp(_Round.apply(x / scale) + shift, limits.min, limits.max)


def _dequantize(
    _: NodeProto, a: Attributes, q: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    shift = torch.zeros(()) if zero is None else zero
    return (q.double() - _along(a, q, shift)) * _along(a, q, scale)


def _along(a: Attributes, x: Tensor, values: Tensor) -> Tensor:
    """Scales or zero points for all of `x`, or per index of an axis."""
    if values.numel() == 1:
        return values.double().reshape(())
    axis = a.get("axis", 1) % x.ndim
    return values.double().reshape([-1 if i == axis else 1 for i in range(x.ndim)])


def _quantize_dynamically(_: NodeProto, __: Attributes, x: Tensor) -> tuple[Tensor, ...]:
    low, high = x.detach().min().clamp(max=0), x.detach().max().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.clamp(torch.round(-low / scale), 0, 255)
    return torch.clamp(_Round.apply(x / scale) + zero, 0, 255), scale, zero.to(torch.uint8)


def _conv(_: NodeProto, a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    top, left, bottom, right = a.get("pads", [0] * 4)
    return functional.conv2d(
        functional.pad(x, [left, right, top, bottom]),
        w,
        b,
        a.get("strides", 1),
        0,
        a.get("dilations", 1),
        a.get("group", 1),
    )


def _gemm(_: NodeProto, a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    product = x @ (w.T if a.get("transB") else w)
    return product if b is None else product + b


def _max_pool(_: NodeProto, a: Attributes, x: Tensor) -> Tensor:
    if any(a.get("pads", [])):
        raise NotImplementedError("a padded MaxPool")
    form = (a["kernel_shape"], a.get("strides", 1), 0, 1, bool(a.get("ceil_mode", 0)))
    return functional.max_pool2d(x, *form)


def _cast(_: NodeProto, a: Attributes, x: Tensor) -> Tensor:
    return x.double() if a["to"] in _FLOATS else x


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda _, __, *inputs: function(*inputs)


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _quantize_dynamically,
    "Conv": _conv,
    "Gemm": _gemm,
    "MaxPool": _max_pool,
    "Cast": _cast,
    "Clip": _plain(torch.clamp),
    "Relu": _plain(torch.relu),
    "Add": _plain(torch.add),
    "Mul": _plain(torch.mul),
    "MatMul": _plain(torch.matmul),
    "GlobalAveragePool": _plain(lambda x: x.mean((2, 3), keepdim=True)),
    "Flatten": lambda _, a, x: x.flatten(a.get("axis", 1)),
    "Concat": lambda _, a, *xs: torch.cat(xs, a["axis"]),
}
"""The operators of the shipped models after they are quantized and prepared."""
