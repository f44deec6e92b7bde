"""Arithmetic that several methods share."""

from __future__ import annotations

import numpy as np

from onnxplain.tensors import Array, FloatArray


def softmax(values: Array, axis: int = -1) -> FloatArray:
    """exp(v) / Σ exp(v) along `axis`, in float64 inside."""
    shifted = values.astype(np.float64)
    shifted -= shifted.max(axis=axis, keepdims=True)
    powers = np.exp(shifted)
    result: FloatArray = (powers / powers.sum(axis=axis, keepdims=True)).astype(np.float32)
    return result


def sigmoid(values: Array) -> FloatArray:
    """1 / (1 + exp(−v)), in float64 inside, without overflow."""
    wide = values.astype(np.float64)
    small = np.exp(-np.abs(wide))
    result: FloatArray = (np.where(wide >= 0, 1, small) / (1 + small)).astype(np.float32)
    return result
