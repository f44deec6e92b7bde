"""How kernels are laid over their input: sizes, strides, dilations and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.calculus import Calculus
from onnxplain.autodiff.step import Step
from onnxplain.graph.shapes import Dims

Edges = tuple[Any, Any]
"""Padding before and after, per axis: two lists of ints, or two int64 tensors."""


@dataclass(frozen=True)
class Window:
    """Kernels over the spatial axes of `outer`, one for each position of `inner`.

    `outer` is the input of a convolution or a pool and the output of a transposed convolution;
    `inner` is the other one. `pads` are ints wherever they can be known beforehand.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: Edges

    @property
    def spans(self) -> list[int]:
        """What a dilated kernel stretches over, per axis."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    @property
    def axes(self) -> list[int]:
        """The spatial axes."""
        return [2 + i for i in range(len(self.kernel))]

    @property
    def static_pads(self) -> list[int] | None:
        """The attribute `pads`, None where padding depends on sizes known at run time."""
        before, after = self.pads
        return None if isinstance(before, gs.Tensor) else [*before, *after]


def window(s: Step, kernel: Sequence[int], pads: Edges) -> Window:
    """The window of a node."""
    ones = [1] * len(kernel)
    return Window(list(kernel), s.attr("strides", ones), s.attr("dilations", ones), pads)


def explicit_pads(s: Step, kernel: Sequence[int]) -> Edges:
    """The attribute `pads`; zeros where it is left out, or ruled out by `auto_pad`."""
    pads = s.attr("pads", [0] * 2 * len(kernel))
    if s.attr("auto_pad", "NOTSET") != "NOTSET":
        pads = [0] * len(pads)
    return pads[: len(kernel)], pads[len(kernel) :]


def input_pads(g: Calculus, s: Step, kernel: Sequence[int]) -> Edges:
    """The padding that a convolution or a pool gives its input."""
    if not s.attr("auto_pad", "NOTSET").startswith("SAME"):
        return explicit_pads(s, kernel)
    unpadded = window(s, kernel, ([], []))
    spans, strides = unpadded.spans, unpadded.strides
    sizes = spatial_dims(g, s.x)
    if all(n == 1 or isinstance(size, int) for n, size in zip(strides, sizes, strict=True)):
        known = [size if isinstance(size, int) else 1 for size in sizes]
        triples = zip(spans, strides, known, strict=True)
        return halves(s, [max(span - 1 - (size - 1) % n, 0) for span, n, size in triples])
    # ceil(size / stride) positions, the last of which begins (size - 1) % stride before the end.
    rest = g.Mod(g.Sub(spatial_shape(g, s.x), np.array(1)), np.array(strides))
    total = g.Max(g.Sub(np.array(spans) - 1, rest), np.array(0))
    return halves(s, total, g)


def halves(s: Step, total: Any, g: Calculus | None = None) -> Edges:
    """Padding in total as padding before and after; SAME_UPPER has the larger part after."""
    odd_before = 0 if s.attr("auto_pad", "NOTSET") == "SAME_UPPER" else 1
    if g is None:
        before = [(pad + odd_before) // 2 for pad in total]
        return before, [pad - half for pad, half in zip(total, before, strict=True)]
    half = g.Div(g.Add(total, np.array(odd_before)), np.array(2))
    return half, g.Sub(total, half)


def spatial_dims(g: Calculus, x: gs.Variable) -> Dims:
    """The dimensions behind batch and channels, as far as they are known."""
    dims = g.dims(x)
    return dims[2:] if dims is not None else ()
