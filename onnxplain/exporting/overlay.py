"""A heatmap drawn over its picture, as nodes of a graph of opset 18 or newer.

The nodes mix photograph and colors as `onnxplain.results.render.colors.Colors.blend` does. They
draw no outline, no frame and no text. Where the model does not see the picture, the photograph has
no color mixed into it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.exporting.picture_heat import OK, Scaled
from onnxplain.exporting.placement_nodes import GraphPlacement
from onnxplain.exporting.resample_nodes import double, wide
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.results.render.colors import COLOR_KEPT, mixing_tables
from onnxplain.transforms.builder import Builder

_GRAY: Final = np.array([[9798, 19235, 3735]])
"""OpenCV's weights of red, green and blue, whose sum is 2 ** 15."""

_FIXED_POINT = 256
"""What 1 is in the tables of mixing."""


def overlay_nodes(
    g: Builder,
    picture: gs.Tensor,
    seen: Scaled,
    where: GraphPlacement,
    colormap: str = DEFAULT_COLORMAP,
) -> gs.Tensor:
    """The heatmap over its picture, (H, W, 3) RGB: uint8 (H, W, 3), RGB.

    `seen` is the heat of the pixels that the model sees, and `where` says which those are. A map
    whose status is not `OK` mixes no color into the photograph.

    Raises:
        OptionError: no such colormap.
    """
    share, warm, cold = mixing_tables(colormap)
    zero = _zero(g, seen)
    shown = g.Cast(zero, to=np.float32)
    covered = where.seen.padded(g, seen.heat, where.picture, g.Squeeze(shown))
    level = _level(g, covered, zero)
    below = g.Cast(g.Less(covered, shown), to=np.int32)
    place = g.Add(level, g.Mul(below, np.array(len(share), np.int32)))
    colors = np.concatenate([warm, cold], axis=1).astype(np.float32)
    color = g.Squeeze(g.Gather(colors, place, axis=1), np.array([1]))
    photo = g.Mul(_faded(g, picture), g.Gather(share.astype(np.float32), level))
    mixed = g.Div(g.Add(photo, color), np.float32(_FIXED_POINT))
    return g.Transpose(g.Cast(mixed, to=np.uint8), perm=[1, 2, 0])


def _zero(g: Builder, seen: Scaled) -> gs.Tensor:
    """The heat that raw value 0 has, float64 (1, 1, 1); see `Colors`."""
    low, high = seen.low, seen.high
    signed = g.And(g.Less(low, np.float32(0)), g.GreaterOrEqual(high, np.float32(0)))
    shows = g.Equal(seen.status, np.array(OK))
    share = g.Div(g.Neg(wide(g, low)), g.Sub(wide(g, high), wide(g, low)))
    return g.Where(g.And(signed, shows), share, double(g, 0))


def _level(g: Builder, heat: gs.Tensor, zero: gs.Tensor) -> gs.Tensor:
    """The distance of the raw value from 0, from 0 to 255, int32 (1, H, W).

    As in OpenCV: a product and a sum of float32 numbers that are rounded once, to float32.
    """
    longer = g.Max(zero, g.Sub(double(g, 1), zero))
    factor = g.Div(double(g, 255), longer)
    offset = g.Neg(g.Mul(zero, factor))
    factor, offset = (wide(g, g.Cast(number, to=np.float32)) for number in (factor, offset))
    distance = g.Abs(g.Cast(g.Add(g.Mul(wide(g, heat), factor), offset), to=np.float32))
    level = g.Clip(g.Round(distance), np.float32(0), np.float32(255))
    return g.Cast(level, to=np.int32)


def _faded(g: Builder, picture: gs.Tensor) -> gs.Tensor:
    """The photograph with less color, in whole numbers, float32 (3, H, W)."""
    planes = g.Cast(g.Transpose(picture, perm=[2, 0, 1]), to=np.float32)
    total = float(_GRAY.sum())
    weights = (_GRAY / total).astype(np.float32)
    lines = g.Reshape(planes, np.array([3, -1]))
    gray = g.Floor(g.Add(g.MatMul(weights, lines), np.float32(0.5)))
    own = g.Mul(lines, np.float32(COLOR_KEPT))
    mixed = g.Round(g.Add(own, g.Mul(gray, np.float32(1 - COLOR_KEPT))))
    return g.Reshape(mixed, g.Shape(planes))
