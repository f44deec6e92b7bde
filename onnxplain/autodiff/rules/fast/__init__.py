"""Faster forms of rules: which runs, and when. Each gives the gradients of the definition."""

from __future__ import annotations

from functools import partial

from onnxplain.autodiff.rules.convolution import by_own_weights, conv
from onnxplain.autodiff.rules.fast import (
    convolution,
    elementwise,
    indexing,
    linear,
    pooling,
    resize,
    slicing,
    window,
)
from onnxplain.autodiff.rules.pooling import lp_pool, spread_mean
from onnxplain.autodiff.table import Override, Overrides

_MASKED = "Clip Gelu HardSigmoid HardSwish Mish Relu Sigmoid Swish Tanh".split()

_mean_padded = partial(spread_mean, spread=window.spread_padded)
_own_padded = partial(by_own_weights, spread=window.spread_padded)
_conv_padded = Override(window.is_symmetric, partial(conv, back=_own_padded))

OVERRIDES: Overrides = {
    "Conv": [
        Override(convolution.is_dense, partial(conv, back=convolution.by_turned_weights)),
        Override(convolution.is_depthwise, partial(conv, back=convolution.by_inserted_zeros)),
        _conv_padded,
    ],
    "MaxPool": [Override(pooling.is_gapless, pooling.max_pool_by_axis)],
    "AveragePool": [
        Override(pooling.is_dense, partial(pooling.average_pool, back=pooling.by_average)),
        Override(pooling.is_side_by_side, partial(pooling.average_pool, back=pooling.by_repeating)),
        Override(window.is_symmetric, partial(pooling.average_pool, back=_mean_padded)),
        Override(pooling.is_even, partial(pooling.average_pool, back=spread_mean)),
    ],
    "LpPool": [
        Override(pooling.is_dense, partial(lp_pool, back=pooling.by_average)),
        Override(pooling.is_side_by_side, partial(lp_pool, back=pooling.by_repeating)),
        Override(window.is_symmetric, partial(lp_pool, back=_mean_padded)),
    ],
    "Resize": [Override(resize.repeats, resize.resize_by_sum)],
    "Gather": [
        Override(indexing.is_run, indexing.gather_by_padding),
        Override(indexing.repeats_little, indexing.gather_by_gathering),
    ],
    "Slice": [Override(slicing.has_known_begin, slicing.slice_by_padding)],
    "Pad": [Override(slicing.has_known_borders, slicing.pad_by_folding)],
    "MatMul": [Override(linear.shares_weight, linear.matmul_by_rows)],
    "Pow": [Override(elementwise.is_square, elementwise.power_of_two)],
    **{op: [Override(lambda g, s: True, elementwise.with_ramps)] for op in _MASKED},
}
"""By operator; the first that applies runs in place of the definition."""

LOW_MEMORY_OVERRIDES: Overrides = {**OVERRIDES, "Conv": [_conv_padded]}
"""Those that keep no second copy of the weights."""
