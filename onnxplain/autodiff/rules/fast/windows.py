"""Convolutions and pools whose padding is static.

The gradient of a convolution uses Conv with rotated weights, which is faster than ConvTranspose.
The rotated weights are a second copy in memory, see `LOW_MEMORY`. The gradient of averages uses
AveragePool where windows are dense, and Resize where they do not overlap. The gradient of maxima is
computed axis by axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor
from onnxplain.autodiff.rules import window
from onnxplain.autodiff.rules.pooling import mean_kernel, row_major_indices, weighted
from onnxplain.autodiff.rules.window import Back, Ints, Window
from onnxplain.transforms.builder import Value

_MOST_TAPS = 40
_LOWEST = np.finfo(np.float32).min


def static_ends(g: GradientBuilder, s: NodeView, win: Window) -> tuple[Ints, Ints, Ints] | None:
    """Padding before and after the input, and the number of elements after the last window.

    Padding after is larger where `ceil_mode` adds windows. None where sizes are known only at run
    time.
    """
    nothing = 0 * win.kernel
    if win.dense:
        return win.before, win.after, nothing
    sizes, count = window.known_sizes(g, s.x), window.known_positions(g, s, win)
    if sizes is None or count is None:
        return None
    left = sizes + win.before + win.after - (count - 1) * win.strides - win.spans
    return win.before, win.after + np.maximum(-left, 0), np.maximum(left, 0)


def is_symmetric(g: GradientBuilder, s: NodeView) -> bool:
    """Whether padding is equal before and after: on CUDA, ConvTranspose needs that."""
    win = window.static_window(g, s)
    ends = None if win is None else static_ends(g, s, win)
    return ends is not None and bool((ends[0] == ends[1]).all())


def spread_padded(
    g: GradientBuilder, s: NodeView, dy: Tensor, weights: Value, win: Window
) -> Tensor:
    """As `spread`, but with padding attributes instead of a crop."""
    ends = static_ends(g, s, win)
    assert ends is not None  # see `is_symmetric`
    before, after, left = (end.tolist() for end in ends)
    form = {**win.form, "group": s.attr("group", 1)}
    return g.ConvTranspose(dy, weights, pads=[*before, *after], output_padding=left, **form)


def is_dense_convolution(g: GradientBuilder, s: NodeView) -> bool:
    """Whether strides are 1 and padding is less than the size of the kernel."""
    win = _turnable(g, s)
    return win is not None and win.dense


def is_depthwise(g: GradientBuilder, s: NodeView) -> bool:
    """Whether a convolution is depthwise, and padding is less than the size of the kernel."""
    return _by_channel(g, s) and _turnable(g, s) is not None


def by_turned_weights(g: GradientBuilder, s: NodeView, dy: Tensor, win: Window) -> Tensor:
    """The gradient of the input of a convolution with stride 1: Conv with rotated weights."""
    return g.Conv(
        dy,
        _turned(g, s, win),
        dilations=win.dilations.tolist(),
        pads=win.margins.tolist(),
        group=s.attr("group", 1),
    )


def by_inserted_zeros(g: GradientBuilder, s: NodeView, dy: Tensor, win: Window) -> Tensor:
    """The same for other strides: zeros are inserted into `dy`, as if the stride was 1.

    ConvTranspose takes twice as long, because it computes the channels one by one. Where sizes are
    known only at run time, there may be too many zeros at the end, and the result is cropped.
    """
    ends = static_ends(g, s, win)
    left = win.strides - 1 if ends is None else ends[2]
    apart = g.ConvTranspose(
        g.Reshape(dy, g.vector(-1, 1, window.positions(g, s, win))),
        np.ones((1, 1, *np.ones_like(win.kernel)), np.float32),
        strides=win.strides.tolist(),
        output_padding=left.tolist(),
    )
    shape = g.vector(-1, g.dim(s.inputs[1], 0), g.Shape(apart, start=2))
    dx = by_turned_weights(g, s, g.Reshape(apart, shape), win)
    if ends is not None:
        return dx
    return window.crop(g, dx, 0 * win.kernel, window.spatial_shape(g, s.x), win)


def _turnable(g: GradientBuilder, s: NodeView) -> Window | None:
    win = window.static_window(g, s)
    return None if win is None or (win.margins < 0).any() else win


def _by_channel(g: GradientBuilder, s: NodeView) -> bool:
    group = s.attr("group", 1)
    return group > 1 and (g.dims(s.inputs[1]) or ())[:2] == (group, 1)


def _turned(g: GradientBuilder, s: NodeView, win: Window) -> Tensor:
    """The weights (M, C/group, *k) as (C, M/group, *k), each kernel rotated by 180 degrees.

    Nodes compute this, not a new constant: the file stays small, and ONNX Runtime folds the nodes.
    """
    w, group = s.inputs[1], s.attr("group", 1)
    swapped = w
    if group == 1:
        swapped = g.Transpose(w, perm=[1, 0, *win.axes.tolist()])
    elif not _by_channel(g, s):
        width = g.dim(w, 1)
        parts = g.Reshape(w, g.vector(group, -1, width, win.kernel))
        parts = g.Transpose(parts, perm=[0, 2, 1, *(win.axes + 1).tolist()])
        swapped = g.Reshape(parts, g.vector(g.Mul(width, [group]), -1, win.kernel))
    axes = win.axes[win.kernel > 1]
    if not len(axes):
        return swapped
    back = np.full(len(axes), -1)
    return g.Slice(swapped, back, back * np.iinfo(np.int64).max, axes, back)


def is_dense_pool(g: GradientBuilder, s: NodeView) -> bool:
    """Whether strides and dilations are 1."""
    win = window.static_window(g, s)
    return win is not None and win.dense and bool((win.dilations == 1).all())


def is_side_by_side(g: GradientBuilder, s: NodeView) -> bool:
    """Whether windows do not overlap, have no gaps, and are all inside the input."""
    win = window.static_window(g, s)
    if win is None or (win.dilations != 1).any() or (win.strides != win.kernel).any():
        return False
    return _is_inside(g, s, win)


def is_even(g: GradientBuilder, s: NodeView) -> bool:
    """Whether every window of an AveragePool is divided by the size of the kernel."""
    win = window.static_window(g, s)
    if s.attr("count_include_pad", 0) == 1 and not _overhangs(g, s, win):
        return True
    return win is not None and _is_inside(g, s, win)


def average_pool(g: GradientBuilder, s: NodeView, dy: Tensor, *, back: Back) -> Tensor:
    """The definition, with the function `back`, and without weights where all are 1."""
    win = window.input_window(g, s)
    return back(g, s, dy if is_even(g, s) else weighted(g, s, dy, win), win)


def by_average(g: GradientBuilder, s: NodeView, dy: Tensor, win: Window) -> Tensor:
    """For dense windows: the mean of `dy` over the windows that contain an element."""
    form = {"kernel_shape": win.kernel.tolist(), "pads": win.margins.tolist()}
    return g.AveragePool(dy, **form, count_include_pad=1)


def by_repeating(g: GradientBuilder, s: NodeView, dy: Tensor, win: Window) -> Tensor:
    """For windows side by side: repeat `dy` / kernel size, and pad with 0 after the last window."""
    shares = g.Resize(
        g.Mul(dy, mean_kernel(win).ravel()[0]),
        None,
        np.array([1, 1, *win.kernel], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    rest = g.Mod(window.spatial_shape(g, s.x), win.kernel)
    known = g.value(rest)
    if known is not None and not known.any():
        return shares
    return g.Pad(shares, g.vector(np.zeros(4 + len(win.kernel), np.int64), rest))


def max_pool_by_axis(
    g: GradientBuilder, s: NodeView, dy: Tensor, *_: Tensor | None
) -> Tensor | None:
    """The maximum is computed axis by axis, the last axis first, so that the first row wins a tie.

    None unless windows have no gaps and are small. This is several times faster than with indices,
    for which ONNX Runtime has a branch for each element.
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
    for axis, x, y in zip(axes, reversed(maxima), [s.y, *reversed(maxima)], strict=False):
        dy = _along_axis(g, s, x, y, dy, win, axis)
    return dy


def _is_inside(g: GradientBuilder, s: NodeView, win: Window) -> bool:
    """Whether every window is inside the input."""
    return not win.pads.any() and not _overhangs(g, s, win)


def _overhangs(g: GradientBuilder, s: NodeView, win: Window | None) -> bool:
    """Whether the last windows may exceed the padded input."""
    if not s.attr("ceil_mode", 0) or (win is not None and win.dense):
        return False
    sizes = window.known_sizes(g, s.x)
    if sizes is None or win is None:
        return True
    return bool(((sizes + win.before + win.after - win.spans) % win.strides).any())


def _only(win: Window, axis: int) -> dict[str, list[int]]:
    """The attributes of windows along one spatial axis only."""
    here = np.arange(len(win.kernel)) == axis
    form = {name: np.where(here, value, 1).tolist() for name, value in win.form.items()}
    return {**form, "pads": np.where(np.tile(here, 2), win.pads, 0).tolist()}


def _along_axis(
    g: GradientBuilder, s: NodeView, x: Tensor, y: Tensor, dy: Tensor, win: Window, axis: int
) -> Tensor:
    """The gradient of `x` for maxima `y` along one axis: the first tap equal to `y` gets `dy`.

    Tap t of a window reads input positions whose remainder modulo the stride is t % stride. There
    is one sum for each remainder, and the sums are interleaved at the end.
    """
    at, here = np.array([2 + axis]), slice(axis, axis + 1)
    stride, step, before = win.strides[here], win.dilations[here], win.before[here]
    offsets = np.arange(win.kernel[axis])[:, None] * step
    counts = window.known_positions(g, s, win)
    count = g.Shape(s.y, start=2 + axis, end=3 + axis) if counts is None else counts[here]
    reach = g.Mul(g.Sub(count, [1]), stride)  # where the last window begins
    end = g.Add(g.dim(s.x, 2 + axis), before)
    missing = g.Sub(g.Add(reach, offsets[-1] + 1), end)
    outer = g.Pad(x, g.vector(before, g.Max(missing, [0])), _LOWEST, at)

    phases: list[list[Tensor]] = [[] for _ in range(int(stride[0]))]
    room = offsets[-1] // stride + (stride > 1)
    for offset in offsets:
        taken = dy
        if offset != offsets[-1]:
            tap = g.Slice(outer, offset, g.Add(reach, offset + 1), at, stride)
            taken = g.where(g.Equal(tap, y), dy)
            dy = g.Sub(dy, taken)
        shift = offset // stride
        moved = g.Pad(taken, np.concatenate([shift, room - shift]), F32(0), at)
        phases[int((offset % stride)[0])].append(moved)
    interleaved = _interleaved(g, [g.total(*phase) for phase in phases], 2 + axis)
    return g.Slice(interleaved, before, end, at)


def _interleaved(g: GradientBuilder, phases: Sequence[Tensor], axis: int) -> Tensor:
    """The tensors interleaved along `axis`: element 0 of each, then element 1 of each, ..."""
    if len(phases) == 1:
        return phases[0]
    rows = g.Concat(*(g.Unsqueeze(phase, [axis + 1]) for phase in phases), axis=axis + 1)
    shape = g.vector(*[0] * axis, -1, g.Shape(phases[0], start=axis + 1))
    return g.Reshape(rows, shape)
