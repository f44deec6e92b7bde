"""From a method's map to a heatmap, as nodes of a graph of opset 18 or newer.

The nodes compute what `onnxplain.explainer.heat.to_heatmap` computes. A graph cannot raise an
error, so where that function raises one, the heatmap is 0 everywhere and a number, the status, says
why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.explainer.heat import ROUNDING
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.transforms.builder import Builder

OK = 0
"""The status of a map that shows something."""

SAME_EVERYWHERE = 1
"""The status of a map that has the same value everywhere, so that it shows nothing."""

NOT_FINITE = 2
"""The status of a map with NaN or infinite values."""

_MAP = np.array([1, 2])


@dataclass(frozen=True, eq=False)
class Scaled:
    """Maps scaled to [0, 1], and the values that became 0 and 1.

    Attributes:
        heat: float32 (N, rows, columns), 0 where the status is not `OK`.
        status: int64 (N).
        low, high: float32 (N, 1, 1); they mean nothing where the status is not `OK`.
    """

    heat: gs.Tensor
    status: gs.Tensor
    low: gs.Tensor
    high: gs.Tensor


def heatmap_nodes(
    g: Builder, heat: GraphArray, size: tuple[int, int], has_zero: bool
) -> tuple[gs.Tensor, gs.Tensor]:
    """Maps (N, rows, columns) as heatmaps of the model's input, whose size is (height, width).

    `has_zero` says whether the method's values have a zero; see `to_heatmap`.

    Returns the heatmaps, float32 (N, height, width) in [0, 1], and the status of each map, int64
    (N): `OK`, `SAME_EVERYWHERE` or `NOT_FINITE`. Maps with another status than `OK` are 0
    everywhere.
    """
    enlarged = heat if heat.dims[-2:] == size else GraphNamespace(g).resize(heat, size)
    scaled = scaled_nodes(g, heat.tensor, enlarged.tensor, has_zero)
    return scaled.heat, scaled.status


def scaled_nodes(g: Builder, heat: gs.Tensor, seen: gs.Tensor, has_zero: bool) -> Scaled:
    """Scale enlarged maps, `seen`, to [0, 1], each by its own smallest and largest value.

    `heat` holds the maps before they were enlarged. Both are float32 (N, rows, columns).
    """
    low, high = g.ReduceMin(seen, _MAP), g.ReduceMax(seen, _MAP)
    # NaN is not less than or equal to any number.
    finite = g.LessOrEqual(g.Abs(heat), np.finfo(np.float32).max)
    all_finite = g.Cast(g.ReduceMin(g.Cast(finite, to=np.float32), _MAP), to=np.bool_)
    rounding = g.Mul(g.Max(g.Abs(low), g.Abs(high)), np.float32(ROUNDING))
    differs = g.Greater(g.Sub(high, low), rounding)
    shows = g.And(all_finite, differs)
    top = g.Relu(high) if has_zero else high
    span = g.Where(shows, g.Sub(top, low), np.float32(1))
    share = g.Div(g.Sub(seen, low), span)
    clipped = g.Clip(share, np.float32(0), np.float32(1))
    code = g.Where(differs, np.array(OK), np.array(SAME_EVERYWHERE))
    status = g.Squeeze(g.Where(all_finite, code, np.array(NOT_FINITE)), _MAP)
    return Scaled(g.Where(shows, clipped, np.float32(0)), status, low, top)
