"""Windows of convolutions and pools: sizes, strides, dilations and padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxplain.autodiff.rule import GradientBuilder, NodeView, Tensor
from onnxplain.errors import GradientError
from onnxplain.tensors import Array
from onnxplain.transforms.builder import Value

Ints = Array
"""int64 numbers, one for each spatial axis."""


@dataclass(frozen=True)
class Window:
    """The windows of a kernel over the spatial axes of a padded tensor.

    All are int64, one number per spatial axis. Where padding depends on sizes that are known only
    at run time, `before` and `after` are tensors of the graph.
    """

    kernel: Ints
    strides: Ints
    dilations: Ints
    before: Any
    after: Any

    @property
    def spans(self) -> Ints:
        """The sizes of the dilated kernel."""
        return (self.kernel - 1) * self.dilations + 1

    @property
    def axes(self) -> Ints:
        """The spatial axes."""
        return np.arange(2, 2 + len(self.kernel))

    @property
    def static(self) -> bool:
        """Whether padding is constant, which is always so for dense windows."""
        return isinstance(self.before, np.ndarray)

    @property
    def pads(self) -> Ints:
        """The attribute `pads`; only if padding is static."""
        return np.concatenate([self.before, self.after])

    @property
    def margins(self) -> Ints:
        """The attribute `pads` of the convolution from dy to the input's gradient, for stride 1."""
        return np.tile(self.spans - 1, 2) - self.pads

    @property
    def form(self) -> dict[str, list[int]]:
        """The attributes of a node with these windows, without padding."""
        return {
            "kernel_shape": self.kernel.tolist(),
            "strides": self.strides.tolist(),
            "dilations": self.dilations.tolist(),
        }

    @property
    def dense(self) -> bool:
        """Whether all strides are 1."""
        return bool((self.strides == 1).all())


def kernel_shape(g: GradientBuilder, s: NodeView) -> list[int]:
    """The spatial sizes of the kernels of a convolution or a pool.

    Raises:
        GradientError: they are known only at run time.
    """
    kernel = s.attr("kernel_shape") or list((g.dims(s.inputs[1]) or ())[2:])
    if not kernel or not all(isinstance(size, int) for size in kernel):
        raise GradientError(
            f"The {s.op} of node {s.node.name!r} has weights whose shape is known only at run "
            "time: write the attribute kernel_shape, or explain a layer after this one."
        )
    return kernel


def input_window(g: GradientBuilder, s: NodeView) -> Window:
    """The windows of a convolution or a pool over its input.

    Raises:
        GradientError: the node has both `auto_pad` SAME_UPPER or SAME_LOWER and dilations; or see
            `kernel_shape`.
    """
    bare = _bare(g, s)
    auto_pad = s.attr("auto_pad", "NOTSET")
    if not auto_pad.startswith("SAME"):
        return _with_pads(s, bare)
    if (bare.dilations != 1).any():
        raise GradientError(
            f"The {s.op} of node {s.name!r} has both auto_pad and dilations, for which ONNX "
            "Runtime differs from the ONNX standard: write its padding as `pads`."
        )
    sizes = spatial_shape(g, s.x, needed=bare.strides != 1)
    # There are ceil(size / stride) windows; the last begins (size - 1) % stride before the end.
    overhang = g.Mod(g.Sub(sizes, 1), bare.strides)
    total = g.Max(g.Sub(bare.spans - 1, overhang), 0)
    return _halved(g, bare, total, larger_after=auto_pad == "SAME_UPPER")


def static_window(g: GradientBuilder, s: NodeView) -> Window | None:
    """As `input_window`, but None where padding is known only at run time.

    Raises:
        GradientError: see `input_window`.
    """
    win = input_window(g, s)
    return win if win.static else None


def output_window(g: GradientBuilder, s: NodeView) -> Window:
    """The windows of a transposed convolution over its output."""
    bare = _bare(g, s)
    auto_pad = s.attr("auto_pad", "NOTSET")
    extra = np.array(s.attr("output_padding", 0 * bare.kernel))
    if "output_shape" in s.attrs:
        whole = g.Add(g.Mul(g.Sub(spatial_shape(g, s.x), 1), bare.strides), bare.spans + extra)
        total = g.Max(g.Sub(whole, s.attr("output_shape")), 0)
    elif auto_pad.startswith("SAME"):
        total = g.Max(bare.spans + extra - bare.strides, 0)
    else:
        return _with_pads(s, bare)
    return _halved(g, bare, total, larger_after=auto_pad == "SAME_UPPER")


def spatial_shape(g: GradientBuilder, x: Tensor, needed: Array | None = None) -> Tensor:
    """The spatial sizes of `x`, int64; as a constant where `known_sizes` gives them."""
    known = known_sizes(g, x, needed)
    if known is not None:
        return g.constant(known)
    return g.Slice(g.shape(x), [2], [np.iinfo(np.int64).max])


def known_sizes(g: GradientBuilder, x: Tensor, needed: Array | None = None) -> Ints | None:
    """The spatial sizes of `x`, None unless those that are `needed`, by default all, are static.

    A size that is neither needed nor static is 1.
    """
    unknown = (None,) * (3 if needed is None else 2 + len(needed))
    sizes = (g.dims(x) or unknown)[2:]
    every = np.ones(len(sizes), bool) if needed is None else needed
    if any(need and not isinstance(d, int) for d, need in zip(sizes, every, strict=True)):
        return None
    return np.array([d if isinstance(d, int) else 1 for d in sizes])


def known_positions(g: GradientBuilder, s: NodeView, win: Window) -> Ints | None:
    """The number of windows along each axis of a convolution's or pool's input, None if unknown.

    The number is that of ONNX Runtime: windows that `ceil_mode` adds must not begin after the
    input. ONNX's shape inference does not check this before opset 22.
    """
    sizes = known_sizes(g, s.x)
    if sizes is None or not win.static:
        return None
    room = sizes + win.before + win.after - win.spans
    if not s.attr("ceil_mode", 0):
        return np.asarray(room // win.strides + 1)
    last = -(-room // win.strides)
    return np.asarray(last + (last * win.strides < sizes + win.before))


def misjudged(g: GradientBuilder, s: NodeView, win: Window) -> bool:
    """Whether the inferred sizes are wrong: ONNX Runtime compares constants with them."""
    inferred, count = known_sizes(g, s.y), known_positions(g, s, win)
    return inferred is not None and count is not None and bool((inferred != count).any())


def positions(g: GradientBuilder, s: NodeView, win: Window) -> Tensor:
    """The number of windows along each axis, an int64 tensor; constant where known."""
    known = known_positions(g, s, win)
    if known is None:
        return g.Shape(s.y, start=2)
    return g.Identity(known) if misjudged(g, s, win) else g.constant(known)


def padded(g: GradientBuilder, x: Tensor, win: Window) -> tuple[Tensor, Window]:
    """`x` and its windows; where padding is not static, a Pad node pads `x` instead."""
    if win.static:
        return x, win
    none = np.zeros(2, np.int64)
    pads = g.vector(none, win.before, none, win.after)
    return g.Pad(x, pads), replace(win, before=0 * win.kernel, after=0 * win.kernel)


def crop(g: GradientBuilder, x: Tensor, before: Any, shape: Any, win: Window) -> Tensor:
    """The part of `x` that begins at `before` and has the spatial shape `shape`."""
    return g.Slice(x, before, g.Add(before, shape), win.axes)


Back = Callable[[GradientBuilder, NodeView, Tensor, Window], Tensor]
"""`back(g, step, dy, window)` -> the gradient of the input, from `dy` at each window."""

Spread = Callable[[GradientBuilder, NodeView, Tensor, Value, Window], Tensor]
"""A function with the signature of `spread`."""


def spread(g: GradientBuilder, s: NodeView, dy: Tensor, weights: Value, win: Window) -> Tensor:
    """The weights times `dy` at each window, added up to a tensor of the size of the input of `s`.

    `weights` are (channels of dy, channels / group, *kernel), like those of ConvTranspose.
    """
    left = (win.strides - 1).tolist()
    form = {**win.form, "group": s.attr("group", 1)}
    whole = g.ConvTranspose(dy, weights, output_padding=left, **form)
    return crop(g, whole, win.before, spatial_shape(g, s.x), win)


def _bare(g: GradientBuilder, s: NodeView) -> Window:
    kernel = np.array(kernel_shape(g, s))
    ones, none = np.ones_like(kernel), np.zeros_like(kernel)
    strides, dilations = (np.array(s.attr(name, ones)) for name in ("strides", "dilations"))
    return Window(kernel, strides, dilations, none, none)


def _with_pads(s: NodeView, win: Window) -> Window:
    if "pads" not in s.attrs or s.attr("auto_pad", "NOTSET") != "NOTSET":
        return win
    before, after = np.split(np.array(s.attrs["pads"]), 2)
    return replace(win, before=before, after=after)


def _halved(g: GradientBuilder, win: Window, total: Tensor, larger_after: bool) -> Window:
    """The windows with `total` padding split in halves; the larger one is after or before."""
    smaller = g.Div(total, 2)
    halves = smaller, g.Sub(total, smaller)
    before, after = (g.resolved(half) for half in (halves if larger_after else halves[::-1]))
    return replace(win, before=before, after=after)
