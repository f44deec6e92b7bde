"""Faster forms of rules, and when each is used. They give the gradients of the definition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from onnxplain.autodiff.rule import GradientBuilder, NodeView
from onnxplain.autodiff.rules.convolution import by_own_weights, conv
from onnxplain.autodiff.rules.fast import elementwise, indexing, linear, resize, windows
from onnxplain.autodiff.rules.pooling import lp_pool, spread_mean
from onnxplain.autodiff.table import Overrides, Rule

_MASKED = "Clip Gelu HardSigmoid HardSwish Mish Relu Sigmoid Swish Tanh".split()


def _where(applies: Callable[[GradientBuilder, NodeView], bool], rule: Rule) -> Rule:
    return lambda g, s, *dys: rule(g, s, *dys) if applies(g, s) else None


def _by_windows(pool: Rule) -> list[Rule]:
    """The rule of a pool, with the fastest function for the windows that it has."""
    mean_padded = partial(spread_mean, spread=windows.spread_padded)
    return [
        _where(windows.is_dense_pool, partial(pool, back=windows.by_average)),
        _where(windows.is_side_by_side, partial(pool, back=windows.by_repeating)),
        _where(windows.is_symmetric, partial(pool, back=mean_padded)),
    ]


_own_padded = partial(by_own_weights, spread=windows.spread_padded)
_conv_padded = _where(windows.is_symmetric, partial(conv, back=_own_padded))

OVERRIDES: Overrides = {
    "Conv": [
        _where(windows.is_dense_convolution, partial(conv, back=windows.by_turned_weights)),
        _where(windows.is_depthwise, partial(conv, back=windows.by_inserted_zeros)),
        _conv_padded,
    ],
    "MaxPool": [windows.max_pool_by_axis],
    "AveragePool": [
        *_by_windows(windows.average_pool),
        _where(windows.is_even, partial(windows.average_pool, back=spread_mean)),
    ],
    "LpPool": _by_windows(lp_pool),
    "Resize": [resize.resize_by_sum],
    "Gather": [indexing.gather_by_padding, indexing.gather_by_gathering],
    "Slice": [indexing.slice_by_padding],
    "Pad": [indexing.pad_by_folding],
    "MatMul": [linear.matmul_by_rows],
    "Pow": [elementwise.power_of_two],
    **{op: [elementwise.with_ramps] for op in _MASKED},
}
"""By operator; the first that applies replaces the definition."""

LOW_MEMORY_OVERRIDES: Overrides = {**OVERRIDES, "Conv": [_conv_padded]}
"""The faster forms that do not keep a second copy of the weights."""
