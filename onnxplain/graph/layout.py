"""Which axis of each tensor is the batch, the channels, the rows, the columns, or the tokens.

ONNX names no axes, but its convolutions and pools fix them (N, C, spatial...), and most operators
keep or permute them. Axes are letters: "NCHW" after a convolution, "NHWC" after a Transpose,
"NTC" once rows and columns were flattened into tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from onnx import NodeProto

from onnxplain.graph.model import Model
from onnxplain.graph.shapes import Shape
from onnxplain.graph.wiring import attributes


@dataclass(frozen=True)
class Layout:
    """Axes of a tensor, and for tokens the grid (rows, columns) and the extra tokens before it."""

    axes: str
    grid: Shape
    prefix: int = 0

    def permuted(self, order: list[int]) -> Layout:
        """The layout after a Transpose."""
        return Layout("".join(self.axes[i] for i in order), self.grid, self.prefix)


_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}

_CHANNELS_FIRST = frozenset(
    "Conv ConvTranspose QLinearConv ConvInteger FusedConv MaxPool AveragePool LpPool "
    "QLinearAveragePool GlobalAveragePool GlobalMaxPool BatchNormalization InstanceNormalization "
    "GroupNormalization LRN DepthToSpace SpaceToDepth MaxUnpool DeformConv Upsample".split()
)
"""Operators whose result is (N, C, spatial...) by definition."""

_SHUFFLING = frozenset(
    "Reshape Flatten Gather GatherElements GatherND Scatter ScatterElements ScatterND Einsum "
    "Expand Tile Squeeze Unsqueeze ReverseSequence Loop If Scan LSTM GRU RNN TopK Compress "
    "NonZero NonMaxSuppression OneHot Shape Size Attention MultiHeadAttention RoiAlign".split()
)
"""Operators after which an axis need not mean what it meant before."""


def find_layouts(model: Model, shapes: Mapping[str, Shape], picture: str) -> dict[str, Layout]:
    """Layouts of the tensors computed from the input `picture`, as far as they can be told."""
    wiring = model.wiring
    depends = wiring.descendants([picture])
    layouts: dict[str, Layout] = {}
    for index in sorted(depends):
        node = wiring.nodes[index]
        if not node.output or not node.output[0]:
            continue
        shape = shapes.get(node.output[0])
        if shape is None:
            continue
        layout = _layout_after(node, shape, shapes, layouts)
        if layout is not None and len(layout.axes) == len(shape):
            layouts[node.output[0]] = layout
    return layouts


def _layout_after(
    node: NodeProto,
    shape: Shape,
    shapes: Mapping[str, Shape],
    layouts: Mapping[str, Layout],
) -> Layout | None:
    if node.op_type in _CHANNELS_FIRST and len(shape) - 2 in _SPATIAL:
        return Layout("NC" + _SPATIAL[len(shape) - 2], shape[2:])
    special = _SPECIAL.get(node.op_type)
    known = [layouts[name] for name in node.input if name in layouts]
    if not known:
        return None
    if special is not None:
        return special(node, known[0], shape, shapes)
    if node.op_type in _SHUFFLING:
        return None
    return _same_axes(known, shape)


def _same_axes(known: list[Layout], shape: Shape) -> Layout | None:
    """Elementwise operators and others that keep the meaning of each axis."""
    for layout in known:
        if len(layout.axes) == len(shape):
            return _resized(layout, shape)
    return None


def _resized(layout: Layout, shape: Shape) -> Layout | None:
    """The same axes with the sizes of `shape`; None where tokens no longer fill their grid."""
    if "T" in layout.axes:
        tokens = shape[layout.axes.index("T")]
        return layout if tokens == layout.prefix + prod(layout.grid) else None
    spatial = [shape[i] for i, axis in enumerate(layout.axes) if axis in "DHW"]
    return Layout(layout.axes, tuple(spatial))


def _transpose(node: NodeProto, known: Layout, shape: Shape, shapes: Mapping[str, Shape]) -> Layout:
    order = attributes(node).get("perm") or list(range(len(shape)))[::-1]
    assert isinstance(order, list)
    return known.permuted(order)


def _reshape(
    node: NodeProto, known: Layout, shape: Shape, shapes: Mapping[str, Shape]
) -> Layout | None:
    before = shapes.get(node.input[0])
    if before is None:
        return None
    if before == shape:
        return known
    if before == shape:
        return known
    cells, bare = prod(known.grid), not known.prefix
    for axes, result, possible, expected in (
        ("NCHW", "NCT", bare, (*before[:2], cells)),
        ("NHWC", "NTC", bare, (before[0], cells, before[-1])),
        ("NTC", "NHWC", bare, (before[0], *known.grid, before[-1])),
        ("NCT", "NCHW", bare, (*before[:2], *known.grid)),
    ):
        if known.axes == axes and possible and shape == expected:
            return Layout(result, known.grid)
    return None


def _concat(
    node: NodeProto, known: Layout, shape: Shape, shapes: Mapping[str, Shape]
) -> Layout | None:
    """Class and register tokens are joined before the grid's own."""
    axis = attributes(node)["axis"]
    assert isinstance(axis, int)
    if "T" not in known.axes or known.axes[axis] != "T":
        return _same_axes([known], shape)
    before = 0
    for name in node.input:
        part = shapes.get(name)
        if part is None:
            return None
        if part[axis] >= known.prefix + prod(known.grid):
            return Layout(known.axes, known.grid, known.prefix + before)
        before += part[axis]
    return None


def _matmul(
    node: NodeProto, known: Layout, shape: Shape, shapes: Mapping[str, Shape]
) -> Layout | None:
    """A linear layer on the last axis keeps the tokens; a product of two activations mixes them."""
    first = node.input[0]
    second = shapes.get(node.input[1], ())
    linear = known.axes.endswith("C") and len(second) == 2 and shapes.get(first) is not None
    return _same_axes([known], shape) if linear else None


def _part(
    node: NodeProto, known: Layout, shape: Shape, shapes: Mapping[str, Shape]
) -> Layout | None:
    """A slice of the channels keeps the grid, and so does every n-th cell; a crop moves it."""
    layout = _same_axes([known], shape)
    if layout is None or layout.grid == known.grid:
        return layout
    every_nth = all(size % new == 0 for size, new in zip(known.grid, layout.grid, strict=True))
    return layout if every_nth and len(node.input) == _SLICE_INPUTS_WITH_STEPS else None


_SLICE_INPUTS_WITH_STEPS = 5


Rule = Callable[[NodeProto, Layout, Shape, Mapping[str, Shape]], Layout | None]

_SPECIAL: dict[str, Rule] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Concat": _concat,
    "MatMul": _matmul,
    "Slice": _part,
    "Split": _part,
}
