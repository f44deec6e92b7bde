"""Operators that lay out elements anew: every gradient is laid out back."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import Size, size, vector
from onnxplain.autodiff.table import vjp, zero_gradient

zero_gradient("ConstantOfShape".split())


@vjp("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    return g.like(dy, s.x)


@vjp("Transpose")
def transpose(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    perm = s.attr("perm")
    return g.Transpose(dy) if perm is None else g.Transpose(dy, perm=np.argsort(perm).tolist())


@vjp("Expand", broadcasts=True)
def expand(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    return dy


@vjp("Tile")
def tile(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """Every axis as (repeats, size), then the repeats summed."""
    pairs = [g.Unsqueeze(v, np.array([1])) for v in (s.inputs[1], g.shape(s.x))]
    interleaved = g.Reshape(g.Concat(*pairs, axis=1), np.array([-1]))
    return g.sum(g.Reshape(dy, interleaved), range(0, 2 * g.rank(s.x), 2), keepdims=False)


@vjp("Concat")
def concat(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> list[gs.Tensor]:
    axis = s.attrs["axis"]
    sizes = vector(g, [size(g, x, axis) for x in s.inputs])
    return g.many("Split", len(s.inputs), dy, sizes, axis=axis)


@vjp("Split")
def split(g: GradientBuilder, s: NodeView, *dys: gs.Tensor | None) -> gs.Tensor:
    parts = [g.zeros_like(y) if dy is None else dy for y, dy in zip(s.outputs, dys, strict=True)]
    return g.Concat(*parts, axis=s.attr("axis", 0))


@vjp("DepthToSpace")
def depth_to_space(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    block = s.attrs["blocksize"]
    if s.attr("mode", "DCR") == "DCR":
        return g.SpaceToDepth(dy, blocksize=block)
    height, width = size(g, s.x, 2), size(g, s.x, 3)
    blocks: list[Size] = [0, 0, height, block, width, block]
    return g.like(g.Transpose(g.Reshape(dy, vector(g, blocks)), perm=[0, 1, 3, 5, 2, 4]), s.x)


@vjp("SpaceToDepth")
def space_to_depth(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    return g.DepthToSpace(dy, blocksize=s.attrs["blocksize"], mode=s.attr("mode", "DCR"))


@vjp("Trilu")
def trilu(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    return g.Trilu(dy, *s.inputs[1:], upper=s.attr("upper", 1))


@vjp("ReverseSequence")
def reverse_sequence(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    return g.ReverseSequence(dy, s.inputs[1], **s.attrs)
