"""Operators that rearrange elements: the gradient is rearranged back."""

from __future__ import annotations

import numpy as np

from onnxplain.autodiff.rule import GradientBuilder, Gradients, NodeView, Tensor, vjp, vjps


@vjp("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    return g.like(dy, s.x)


@vjp("Transpose")
def transpose(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    perm = s.attr("perm")
    return g.Transpose(dy) if perm is None else g.Transpose(dy, perm=np.argsort(perm).tolist())


vjp("Expand", broadcasts=True)(lambda g, s, dy: dy)

vjps(
    {
        "ReverseSequence": lambda g, s, dy: g.ReverseSequence(dy, s.inputs[1], **s.attrs),
        "SpaceToDepth": lambda g, s, dy: g.DepthToSpace(dy, **s.attrs),
        "Trilu": lambda g, s, dy: g.Trilu(dy, *s.inputs[1:], **s.attrs),
    }
)


@vjp("Tile")
def tile(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """Reshape each axis to (repeats, size), and sum over the repeats."""
    pairs = [g.Unsqueeze(v, [1]) for v in (s.inputs[1], g.shape(s.x))]
    interleaved = g.Reshape(g.Concat(*pairs, axis=1), [-1])
    return g.sum(g.Reshape(dy, interleaved), range(0, 2 * g.rank(s.x), 2), keepdims=False)


@vjp("Concat")
def concat(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    axis = s.attrs["axis"]
    sizes = g.vector(*(g.dim(x, axis) for x in s.inputs))
    return g.many("Split", len(s.inputs), dy, sizes, axis=axis)


@vjp("Split")
def split(g: GradientBuilder, s: NodeView, *dys: Tensor | None) -> Tensor:
    parts = [g.zeros_like(y) if dy is None else dy for y, dy in zip(s.outputs, dys, strict=True)]
    return g.Concat(*parts, axis=s.attr("axis", 0))


@vjp("DepthToSpace")
def depth_to_space(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    block = s.attrs["blocksize"]
    if s.attr("mode", "DCR") == "DCR":
        return g.SpaceToDepth(dy, blocksize=block)
    blocks = g.vector(0, 0, g.dim(s.x, 2), block, g.dim(s.x, 3), block)
    return g.like(g.Transpose(g.Reshape(dy, blocks), perm=[0, 1, 3, 5, 2, 4]), s.x)
