"""Windows whose sizes are static: ConvTranspose pads its result itself."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.window import (
    Ints,
    Window,
    known_positions,
    known_sizes,
    static_window,
)
from onnxplain.transforms.builder import Value


def static_ends(g: GradientBuilder, s: NodeView, win: Window) -> tuple[Ints, Ints, Ints] | None:
    """Padding before and after as far as windows reach, and what the last one leaves of it.

    None where that is known only at run time.
    """
    nothing = 0 * win.kernel
    if win.dense:
        return win.before, win.after, nothing
    sizes, count = known_sizes(g, s.x), known_positions(g, s, win)
    if sizes is None or count is None:
        return None
    left = sizes + win.before + win.after - (count - 1) * win.strides - win.spans
    return win.before, win.after + np.maximum(-left, 0), np.maximum(left, 0)


def is_symmetric(g: GradientBuilder, s: NodeView) -> bool:
    """Whether padding is the same before and after: CUDA has no ConvTranspose with other."""
    win = static_window(g, s)
    ends = None if win is None else static_ends(g, s, win)
    return ends is not None and bool((ends[0] == ends[1]).all())


def spread_padded(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, weights: Value, win: Window
) -> gs.Tensor:
    """As `spread`, without cutting off what is too much."""
    ends = static_ends(g, s, win)
    assert ends is not None  # see `is_symmetric`
    before, after, left = (end.tolist() for end in ends)
    form = {**win.form, "group": s.attr("group", 1)}
    return g.ConvTranspose(dy, weights, pads=[*before, *after], output_padding=left, **form)
