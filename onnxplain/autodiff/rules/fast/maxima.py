"""The gradient of maxima over windows, computed axis by axis.

ONNX Runtime computes indices of maxima with a branch for each element; comparisons of whole tensors
are several times faster. They are made with channels as the last axis, so that every slice along an
axis copies whole rows of channels. Masks are casts of booleans: Where takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor
from onnxplain.autodiff.rules import window
from onnxplain.autodiff.rules.pooling import row_major_indices
from onnxplain.autodiff.rules.window import Ints, Window

_MOST_TAPS = 40
_LOWEST = np.finfo(np.float32).min


def max_pool_by_axis(
    g: GradientBuilder, s: NodeView, dy: Tensor, *_: Tensor | None
) -> Tensor | None:
    """The maximum is computed axis by axis, the last axis first, so that the first row wins a tie.

    None unless windows have no gaps and are small.
    """
    win = window.static_window(g, s)
    if win is None or row_major_indices(s) is not None or window.misjudged(g, s, win):
        return None
    gapless = (win.strides == 1) | ((win.dilations == 1) & (win.strides <= win.kernel))
    if not gapless.all() or win.kernel.sum() > _MOST_TAPS:
        return None
    axes = np.flatnonzero(win.kernel > 1).tolist()
    maxima = [s.x]
    for axis in reversed(axes[1:]):
        maxima.append(g.MaxPool(maxima[-1], **_only(win, axis), ceil_mode=s.attr("ceil_mode", 0)))
    channels_last = [0, *win.axes.tolist(), 1]
    y, dy = (g.Transpose(value, perm=channels_last) for value in (s.y, dy))
    for axis, maximum in zip(axes, reversed(maxima), strict=False):
        x = g.Transpose(maximum, perm=channels_last)
        dy = _along_axis(g, s, x, y, dy, win, axis)
        y = x
    return g.Transpose(dy, perm=np.argsort(channels_last).tolist())


def _only(win: Window, axis: int) -> dict[str, list[int]]:
    """The attributes of windows along one spatial axis only."""
    here = np.arange(len(win.kernel)) == axis
    form = {name: np.where(here, value, 1).tolist() for name, value in win.form.items()}
    return {**form, "pads": np.where(np.tile(here, 2), win.pads, 0).tolist()}


def _along_axis(
    g: GradientBuilder, s: NodeView, x: Tensor, y: Tensor, dy: Tensor, win: Window, axis: int
) -> Tensor:
    """The gradient of `x` for maxima `y` along one axis: the first tap equal to `y` gets `dy`.

    `x`, `y` and `dy` are (N, *spatial sizes, channels). Tap t of a window reads input positions
    whose remainder modulo the stride is t % stride. There is one sum for each remainder, and the
    sums are interleaved at the end. What no other tap got belongs to the last one.
    """
    at, here = np.array([1 + axis]), slice(axis, axis + 1)
    stride, step, before = win.strides[here], win.dilations[here], win.before[here]
    *compared, last = np.arange(win.kernel[axis])[:, None] * step
    counts = window.known_positions(g, s, win)
    count = g.Shape(s.y, start=2 + axis, end=3 + axis) if counts is None else counts[here]
    reach = g.Mul(g.Sub(count, [1]), stride)  # where the last window begins
    end = g.Add(g.dim(s.x, 2 + axis), before)
    # `last` exceeds the padded input by less than a stride, and only in windows that ceil_mode adds
    beyond = win.after[here] + (stride - 1) * s.attr("ceil_mode", 0) + compared[-1] - last
    outer = _pad(g, x, before, np.maximum(beyond, 0), _LOWEST, at)

    phases: list[list[Tensor]] = [[] for _ in range(int(stride[0]))]
    # for the last tap, and for elements after it that no window reads
    room = np.maximum(last // stride, -(-(last - win.after[here]) // stride))

    def place(offset: Ints, taken: Tensor) -> None:
        shift = offset // stride
        moved = _pad(g, taken, shift, room - shift, F32(0), at)
        phases[int((offset % stride)[0])].append(moved)

    for offset in compared:
        tap = g.Slice(outer, offset, g.Add(reach, offset + 1), at, stride)
        taken = g.Mul(dy, g.as_float(g.Equal(tap, y)))
        place(offset, taken)
        dy = g.Sub(dy, taken)
    place(last, dy)
    interleaved = _interleaved(g, [g.total(*phase) for phase in phases], 1 + axis)
    return g.Slice(interleaved, before, end, at)


def _pad(
    g: GradientBuilder, x: Tensor, before: Ints, after: Ints, value: np.float32, at: Ints
) -> Tensor:
    pads = np.concatenate([before, after])
    return g.Pad(x, pads, value, at) if pads.any() else x


def _interleaved(g: GradientBuilder, phases: Sequence[Tensor], axis: int) -> Tensor:
    """The tensors interleaved along `axis`: element 0 of each, then element 1 of each, ..."""
    if len(phases) == 1:
        return phases[0]
    rows = g.Concat(*(g.Unsqueeze(phase, [axis + 1]) for phase in phases), axis=axis + 1)
    shape = g.vector(*[0] * axis, -1, g.Shape(phases[0], start=axis + 1))
    return g.Reshape(rows, shape)
