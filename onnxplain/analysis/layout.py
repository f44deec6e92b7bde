"""The meaning of each axis of a tensor: batch, channels, rows, columns, or tokens.

ONNX does not name axes, but convolutions and pools define them (N, C, spatial...), and most
operators keep or permute them. Each axis is a letter: "NCHW" after a convolution, "NHWC" after a
Transpose, "NTC" after rows and columns were flattened into tokens. R means samples and tokens
merged into one axis, G means attention heads, and K means keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from onnx import NodeProto

from onnxplain.errors import ModelError
from onnxplain.model import operators
from onnxplain.model.constants import constant_values, reduced_axes
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape


@dataclass(frozen=True)
class Layout:
    """Axes of a tensor, the sizes of its grid, and the number of extra tokens before the grid."""

    axes: str
    grid: Shape
    prefix: int = 0

    @property
    def planes(self) -> tuple[int, int]:
        """Rows and columns of the grid, as formulas take it: one row, or all slices in a column."""
        return prod(self.grid[:-1]), self.grid[-1]


PICTURE_RANK = 4
"""The number of axes of a batch of pictures."""

_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}

_CHANNELS_FIRST = (operators.CONVOLUTIONS | operators.POOLS | operators.CHANNEL_NORMALIZATIONS) | {
    "DeformConv",
    "DepthToSpace",
    "MaxUnpool",
    "SpaceToDepth",
    "Upsample",
}
"""Operators whose result is (N, C, spatial...) by definition."""

_POOLED: dict[frozenset[int] | None, str] = {
    frozenset({2, 3}): "NCHW",
    frozenset({1, 2}): "NHWC",
}
"""For a reduction to one number per channel: the axes it reduces, and the layout of its input."""

_SHUFFLING = (
    (operators.MOVES | operators.SCATTERS | operators.CONTROL_FLOW | operators.RECURRENT)
    | (operators.SIZE_READERS | {"Attention", "Einsum", "MultiHeadAttention", "NonMaxSuppression"})
    | {"NonZero", "OneHot", "RoiAlign", "TopK"}
)
"""Operators that may change the meaning of an axis."""


def find_layouts(model: Model, shapes: Mapping[str, Shape], picture: str) -> dict[str, Layout]:
    """Layouts by name of tensors computed from the input `picture`; unknown ones are left out."""
    walk = _Walk(model, shapes, {})
    for index in sorted(model.index.descendants([picture])):
        walk.visit(model.index.nodes[index])
    return walk.layouts


def require_grids(model: Model, shapes: Mapping[str, Shape], sample: Shape) -> None:
    """Check that no grid becomes empty, as ONNX Runtime may crash on it.

    This happens if the grid is smaller than the window of a convolution or a pool. `shapes` are
    those of the model's tensors for a sample of the shape `sample`.

    Raises:
        ModelError: a convolution or a pool leaves 0 rows or columns.
    """
    for node in model.index.nodes:
        layout = _channels_first(node, shapes.get(node.output[0], ()))
        if layout is not None and min(layout.grid) < 1:
            raise ModelError(
                f"An input of shape {sample} is too small for this model: {node.op_type} "
                f"{node.name or node.output[0]!r} leaves nothing of it; give a larger one."
            )


def input_axes(model: Model, name: str, rank: int) -> str:
    """Axes of an input, such as "NCHW", "NWC" or "NCW"; empty where they are not known.

    They follow from the convolution, or other operator with channels first, that reads the input.
    Operators that keep each axis may come before it, and a Transpose that moves the last axis to
    axis 1. For rank 4 such a Transpose alone shows that channels are last, and without any of these
    "NCHW" is assumed. For rank 3 it does not, because attention transposes its keys the same way.
    """
    if rank - 2 not in _SPATIAL:
        return ""
    plain, last = f"NC{_SPATIAL[rank - 2]}", f"N{_SPATIAL[rank - 2]}C"
    to_channels_first = [0, rank - 1, *range(1, rank - 1)]
    stack, seen = [(name, plain)], {name}
    while stack:
        tensor, axes = stack.pop()
        for node in model.index.readers_of(tensor):
            if node.domain not in operators.KNOWN_DOMAINS:
                continue
            if _makes_channels_first(node):
                return axes
            moves = axes == plain and _is_transpose(node, to_channels_first)
            if moves and rank == PICTURE_RANK:
                return last
            if (moves or node.op_type in _KEEPING) and node.output[0] not in seen:
                seen.add(node.output[0])
                stack.append((node.output[0], last if moves else axes))
    return plain if rank == PICTURE_RANK else ""


def _is_transpose(node: NodeProto, order: list[int]) -> bool:
    return node.op_type == "Transpose" and attributes(node).get("perm") == order


_KEEPING = operators.KEEPS_VALUES | operators.ARITHMETIC | {"Clip", "Relu", "Pad"}
"""Operators of preprocessing, which keep each axis of an input."""


@dataclass(frozen=True)
class _Walk:
    """The layouts that are known so far."""

    model: Model
    shapes: Mapping[str, Shape]
    layouts: dict[str, Layout]

    def visit(self, node: NodeProto) -> None:
        """Find the layouts of a node's outputs."""
        in_parts = node.op_type in _PARTS
        for name in node.output if in_parts else node.output[:1]:
            shape = self.shapes.get(name)
            if shape is None:
                continue
            layout = self._after(node, shape)
            if layout is None and not in_parts:
                layout = self._as_read(name, shape)
            if layout is not None and len(layout.axes) == len(shape):
                self.layouts[name] = layout

    def _after(self, node: NodeProto, shape: Shape) -> Layout | None:
        """The layout of a node's output of that shape, from its operator and its inputs."""
        layout = _channels_first(node, shape)
        if layout is not None or node.domain not in operators.KNOWN_DOMAINS:
            return layout
        rule = _SPECIAL.get(operators.standard_form(node.op_type))
        # The rows of a product are those of its first factor.
        inputs = node.input[:1] if rule is _matmul else node.input
        known = [self.layouts[name] for name in inputs if name in self.layouts]
        if not known or (rule is None and node.op_type in _SHUFFLING):
            return None
        return _same_axes(known, shape) if rule is None else rule(self, node, known[0], shape)

    def _as_read(self, name: str, shape: Shape) -> Layout | None:
        """The layout of a tensor that follows from the convolutions and pools that read it."""
        for node in self.model.index.readers_of(name):
            layout = _channels_first(node, shape)
            if layout is not None:
                return layout
            reduces = node.op_type in ("ReduceMean", "ReduceMax") and len(shape) == PICTURE_RANK
            if reduces and node.domain in operators.KNOWN_DOMAINS:
                axes = _POOLED.get(reduced_axes(self.model, node, len(shape)))
                if axes is not None:
                    return Layout(axes, shape[axes.index("H") : axes.index("W") + 1])
        return None


def _channels_first(node: NodeProto, shape: Shape) -> Layout | None:
    """(N, C, spatial...) for a tensor that an operator with channels first makes or reads."""
    axes = _SPATIAL.get(len(shape) - 2)
    return Layout("NC" + axes, shape[2:]) if axes and _makes_channels_first(node) else None


def _makes_channels_first(node: NodeProto) -> bool:
    first = operators.standard_form(node.op_type) in _CHANNELS_FIRST
    known = node.domain in operators.KNOWN_DOMAINS
    return first and known and not attributes(node).get("channels_last")


def _same_axes(known: list[Layout], shape: Shape) -> Layout | None:
    """The layout after an operator that keeps the meaning of each axis (most elementwise ones)."""
    for layout in known:
        if len(layout.axes) == len(shape):
            return _resized(layout, shape)
    return None


def _resized(layout: Layout, shape: Shape) -> Layout | None:
    """The same axes with the sizes of `shape`; None where the tokens do not fit their grid.

    Extra tokens may have been removed.
    """
    if "R" in layout.axes:
        rows = shape[layout.axes.index("R")]
        return None if rows % (layout.prefix + prod(layout.grid)) else layout
    if "T" in layout.axes:
        extra = shape[layout.axes.index("T")] - prod(layout.grid)
        return replace(layout, prefix=extra) if extra in (layout.prefix, 0) else None
    spatial = [shape[i] for i, axis in enumerate(layout.axes) if axis in "DHW"]
    return Layout(layout.axes, tuple(spatial))


def _transpose(walk: _Walk, node: NodeProto, known: Layout, shape: Shape) -> Layout:
    order = attributes(node).get("perm") or range(len(shape))[::-1]
    return replace(known, axes="".join(known.axes[i] for i in order))


def _reshape(walk: _Walk, node: NodeProto, known: Layout, shape: Shape) -> Layout | None:
    before = walk.shapes.get(node.input[0])
    if before is None:
        return None
    if before == shape:
        return known
    tokens = known.prefix + prod(known.grid)
    samples = before[0] // tokens if known.axes.startswith("R") else before[0]
    channels = prod(n for n, axis in zip(before, known.axes, strict=True) if axis in "GC")
    heads = shape[-2:] if prod(shape[-2:]) == channels else ()
    forms = {
        "NTC": (samples, tokens, channels),
        "RC": (samples * tokens, channels),
        "NTGC": (samples, tokens, *heads),
        "RGC": (samples * tokens, *heads),
        "NHWC": (samples, *known.grid, channels),
        "NCT": (samples, channels, tokens),
        "NCHW": (samples, channels, *known.grid),
        "NHW": (samples, *known.grid),
    }
    for axes, form in forms.items():
        if shape == form and any({axes, known.axes} <= group for group in _RESHAPED):
            return replace(known, axes=axes)
    return None


_RESHAPED = (
    {"NTC", "RC", "NTGC", "RGC"},
    {"NTC", "NHWC"},
    {"NCT", "NCHW"},
    {"NCHW", "NHW"},
    {"NHWC", "NHW"},
)
"""Groups of layouts that a Reshape may exchange: with tokens, heads, or rows and columns."""


def _without_channels(walk: _Walk, node: NodeProto, known: Layout, shape: Shape) -> Layout | None:
    """The layout after the axis of channels was removed: by a Squeeze, an index, or a reduction."""
    if len(shape) == len(known.axes):
        return None if node.op_type == "Gather" else _same_axes([known], shape)
    removed = _removed_axes(walk.model, node, len(known.axes))
    place = known.axes.find("C")
    if removed != frozenset([place]) or "T" in known.axes or "R" in known.axes:
        return None
    return replace(known, axes=known.axes.replace("C", ""))


def _removed_axes(model: Model, node: NodeProto, rank: int) -> frozenset[int] | None:
    """The axes of its input that a node's output no longer has; None if they are not known."""
    if node.op_type == "Gather":
        return frozenset([attributes(node).get("axis", 0) % rank])
    return reduced_axes(model, node, rank)


def _concat(walk: _Walk, node: NodeProto, known: Layout, shape: Shape) -> Layout | None:
    """Class and register tokens may be added before the tokens of the grid, but not after."""
    axis = attributes(node)["axis"]
    if known.axes[axis] == "W" and len(known.grid) == 1:
        return None  # more places along time, or extra tokens: which is not known
    if "T" not in known.axes or known.axes[axis] != "T":
        return _same_axes([known], shape)
    before = 0
    for place in operators.data_places(node.op_type, len(node.input)):
        part = walk.shapes.get(node.input[place])
        if part is None:
            return None
        if part[axis] >= known.prefix + prod(known.grid):
            prefix = known.prefix + before
            fits = prefix + prod(known.grid) == shape[axis]
            return replace(known, prefix=prefix) if fits else None
        before += part[axis]
    return None


def _matmul(walk: _Walk, node: NodeProto, known: Layout, shape: Shape) -> Layout | None:
    """A linear layer on the last axis keeps the tokens, and so do both products of attention.

    Each row of an attention output is at the position of its query token.
    """
    places = operators.data_places(node.op_type, len(node.input))
    first, second = (walk.shapes.get(node.input[i]) for i in places[:2])
    if first is None:
        return None
    if known.axes in _ATTENDED and len(second or ()) == len(known.axes):
        return replace(known, axes=_ATTENDED[known.axes])
    linear = known.axes.endswith("C") and len(second or ()) == 2
    return _same_axes([known], shape) if linear else None


def _part(walk: _Walk, node: NodeProto, known: Layout, shape: Shape) -> Layout | None:
    """A slice of the channels, or of every n-th cell, keeps the layout; a crop gives None."""
    layout = _same_axes([known], shape)
    before = walk.shapes.get(node.input[0])
    if layout is None or layout.grid == known.grid or before is None:
        return layout
    return layout if node.op_type == "Slice" and _is_every_nth(walk.model, node, before) else None


def _is_every_nth(model: Model, node: NodeProto, before: Shape) -> bool:
    """Whether a Slice takes every n-th index over the whole length of each of its axes."""
    bounds = constant_values(model, node.input[1:])
    return (
        bounds is not None
        and len(bounds) == _BOUNDS_WITH_STEPS
        and all(
            0 <= start < step and end > before[axis] - step
            for start, end, axis, step in zip(*bounds, strict=True)
        )
    )


_PARTS = frozenset({"Slice", "Split"})

_ATTENDED = {"NGTC": "NGTK", "NGTK": "NGTC"}
"""Layout changes in attention: queries times keys, then the weights times values."""

_BOUNDS_WITH_STEPS = 4
"""Starts, ends, axes and steps."""

Rule = Callable[[_Walk, NodeProto, Layout, Shape], Layout | None]
"""`rule(walk, node, layout of the first input with one, shape of the output)` -> its layout."""

_SPECIAL: dict[str, Rule] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Concat": _concat,
    "MatMul": _matmul,
    **dict.fromkeys(("Squeeze", "Gather", *operators.REDUCTIONS), _without_channels),
    "Slice": _part,
    "Split": _part,
}
