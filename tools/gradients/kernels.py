# mypy: disable-error-code="misc, no-untyped-call"
"""Kernels for onnx's reference implementation, if its own are slow or not of the input's type.

The slow ones are replaced by those of torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_layer_normalization
from torch import Tensor
from torch.nn import functional

from onnxplain.tensors import Array
from tools.gradcheck.reference import Pad

_CONV = (functional.conv1d, functional.conv2d, functional.conv3d)
_CONV_TRANSPOSE = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)
_MAX_POOL = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)


class Conv(OpRun):
    """With explicit padding."""

    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **form: Any) -> tuple[Array]:
        y = _CONV[x.ndim - 3](
            _padded(_tensor(x), form, 0.0),
            _tensor(w),
            None if b is None else _tensor(b),
            stride=form["strides"] or 1,
            dilation=form["dilations"] or 1,
            groups=form["group"] or 1,
        )
        return (y.numpy(),)


class ConvTranspose(OpRun):
    """The whole output first; then padding removes, and output_padding adds zeros."""

    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **form: Any) -> tuple[Array]:
        rank = x.ndim - 2
        whole = _CONV_TRANSPOSE[rank - 1](
            _tensor(x),
            _tensor(w),
            stride=form["strides"] or 1,
            dilation=form["dilations"] or 1,
            groups=form["group"] or 1,
        )
        pads = form["pads"] or [0] * (2 * rank)
        more = form["output_padding"] or [0] * rank
        begin = [-pad for pad in pads[:rank]]
        end = [extra - pad for extra, pad in zip(more, pads[rank:], strict=True)]
        y = functional.pad(whole, _torch_pads(begin, end)).numpy()
        return (y if b is None else y + b.reshape(-1, *[1] * rank),)


class MaxPool(OpRun):
    """Maxima, and the position of each in the flattened input."""

    op_domain = ""

    def _run(self, x: Array, **form: Any) -> tuple[Array, Array]:
        return maxima(x, form)


class Erf(OpRun):
    """The reference's own is float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (torch.erf(_tensor(x)).numpy(),)


class LayerNormalization(op_layer_normalization.LayerNormalization):
    """In the type of its input; the reference does this, too, but accepts only `stash_type` 1."""

    op_domain = ""

    def _run(self, *inputs: Array, **form: Any) -> tuple[Array, ...]:
        return tuple(super()._run(*inputs, **{**form, "stash_type": 1}))


class QuantizeLinear(OpRun):
    """Per tensor or per axis, to integers."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, zero: Array | None = None, axis: int = 1, **_: Any
    ) -> tuple[Array]:
        zero = np.zeros((), np.uint8) if zero is None else zero
        limits = np.iinfo(zero.dtype)
        q = np.rint(x / _along(x, scale, axis)) + _along(x, zero, axis)
        return (np.clip(q, limits.min, limits.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    """The reference has it from opset 19 on."""

    op_domain = ""

    def _run(
        self, q: Array, scale: Array, zero: Array | None = None, axis: int = 1, **_: Any
    ) -> tuple[Array]:
        shift = 0 if zero is None else _along(q, zero, axis)
        return ((q.astype(scale.dtype) - shift) * _along(q, scale, axis),)


class DynamicQuantizeLinear(OpRun):
    """The reference's own is float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array, Array, Array]:
        low, high = min(0, x.min()), max(0, x.max())
        scale = (high - low) / 255
        zero = np.clip(np.rint(-low / scale), 0, 255)
        q = np.clip(np.rint(x / scale) + zero, 0, 255)
        return q.astype(np.uint8), np.asarray(scale), np.asarray(zero, np.uint8)


def _along(x: Array, values: Array, axis: int) -> Array:
    """Scales or zero points for all of `x`, or by index of an axis, as floats."""
    if values.size == 1:
        return values.astype(np.float64).reshape(())
    return values.astype(np.float64).reshape(
        [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
    )


KERNELS = [
    Conv,
    ConvTranspose,
    DequantizeLinear,
    DynamicQuantizeLinear,
    Erf,
    LayerNormalization,
    MaxPool,
    Pad,
    QuantizeLinear,
]


def maxima(x: Array, form: Mapping[str, Any]) -> tuple[Array, Array]:
    rank, sizes = x.ndim - 2, np.array(x.shape[2:])
    pads = np.array(form.get("pads") or [0] * (2 * rank))
    y, places = _MAX_POOL[rank - 1](
        _padded(_tensor(x), form, -np.inf),
        form["kernel_shape"],
        form.get("strides") or 1,
        0,
        form.get("dilations") or 1,
        bool(form.get("ceil_mode")),
        return_indices=True,
    )
    outer = np.unravel_index(places.numpy(), (sizes + pads[:rank] + pads[rank:]).tolist())
    inner = tuple(place - pad for place, pad in zip(outer, pads[:rank], strict=True))
    samples = np.indices(y.shape[:2]).reshape(2, *y.shape[:2], *[1] * rank)
    return y.numpy(), np.ravel_multi_index((*samples, *inner), x.shape)


def _tensor(x: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def _padded(x: Tensor, form: Mapping[str, Any], value: float) -> Tensor:
    """The input, padded by `pads`."""
    rank = x.ndim - 2
    pads = form.get("pads") or [0] * (2 * rank)
    return functional.pad(x, _torch_pads(pads[:rank], pads[rank:]), value=value)


def _torch_pads(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """Pairs of pads; that of the last axis comes first."""
    pairs = list(zip(begin, end, strict=True))
    return [int(pad) for pair in reversed(pairs) for pad in pair]
