"""The operators of which a patch of the output is computed from a patch of the input: one table.

A rule reads what is known of a node, and says how each position of its output depends on its
inputs. Where an operator has no rule, or a rule returns None, the node needs whole maps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto

from onnxplain.analysis.patches.axes import OUTSIDE, SAME, AxisMap, Moved, Spread, Window
from onnxplain.model import operators
from onnxplain.model.graph_index import attributes
from onnxplain.model.shapes import Shape, ShapeEnv
from onnxplain.tensors import Array


@dataclass(frozen=True)
class Layout:
    """Where a tensor has its rows and columns; its batch is axis 0."""

    rank: int
    rows: int
    columns: int

    @property
    def order(self) -> tuple[int, ...]:
        """The axes: batch, rows, columns, then all others."""
        known = (0, self.rows, self.columns)
        return (*known, *(axis for axis in range(self.rank) if axis not in known))

    def places(self, shape: Shape) -> tuple[int, int]:
        """The sizes of rows and columns."""
        return shape[self.rows], shape[self.columns]

    def axis(self, number: int) -> int:
        """An axis that may be counted from the end, counted from the start."""
        return number % self.rank

    def is_shared(self, axes: set[int]) -> bool:
        """Whether none of the axes is the batch, the rows or the columns."""
        return axes.isdisjoint((0, self.rows, self.columns))


@dataclass(frozen=True, eq=False)
class Local:
    """How each position of a node's output depends on its inputs.

    Attributes:
        layout: of the output.
        axes: of rows and of columns.
        fill: the value that the node reads outside the map; None if it reads nothing there.
        attributes: those of the node that are others for patches; None if one is left out.
        target: the dimensions that a Reshape makes; those of batch, rows and columns vary.
        is_copy: whether the output is made of positions of the input, without a computation.
    """

    layout: Layout
    axes: tuple[AxisMap, AxisMap] = (SAME, SAME)
    fill: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    target: Shape | None = None
    is_copy: bool = False


class NodeFacts:
    """What rules read of a node: attributes, shapes for one sample, values of small constants."""

    def __init__(
        self,
        node: NodeProto,
        env: ShapeEnv,
        shapes: Mapping[str, Shape],
        layouts: Mapping[str, Layout],
        opset: int,
    ) -> None:
        """`layouts` has the inputs of which patches are known."""
        self.node = node
        self.opset = opset
        self.attributes = attributes(node)
        self.patched = [i for i, name in enumerate(node.input) if name in layouts]
        self._layouts = layouts
        self._env = env
        self._shapes = shapes

    @property
    def op(self) -> str:
        """The standard operator that the node is, or is a form of."""
        return operators.standard_form(self.node.op_type)

    @property
    def layout(self) -> Layout:
        """The layout of the first patched input."""
        return self._layouts[self.node.input[self.patched[0]]]

    def layout_of(self, place: int) -> Layout:
        """The layout of a patched input."""
        return self._layouts[self.node.input[place]]

    def shape(self, place: int) -> Shape | None:
        """The shape of an input; None if it is not known or there is none."""
        return self._shapes.get(self.node.input[place]) if self.has(place) else None

    @property
    def result(self) -> Shape:
        """The shape of the first output."""
        return self._shapes.get(self.node.output[0], ())

    def has(self, place: int) -> bool:
        """Whether there is such an input."""
        return place < len(self.node.input) and bool(self.node.input[place])

    def value(self, place: int) -> Array | None:
        """The value of a small constant input, else None."""
        return self._env.value(self.node.input[place]) if self.has(place) else None

    def given(self, name: str, place: int) -> list[int] | None:
        """Numbers that are an attribute, or an input in newer opsets; None if unknown."""
        if name in self.attributes:
            return [int(n) for n in np.atleast_1d(self.attributes[name])]
        value = self.value(place)
        return None if value is None else [int(n) for n in value.reshape(-1)]


Rule = Callable[[NodeFacts], Local | None]


def local(facts: NodeFacts) -> Local | None:
    """How the node computes each position of its output; None if it needs whole maps."""
    rule = RULES.get(facts.node.op_type)
    if rule is None or facts.node.domain not in operators.KNOWN_DOMAINS or not facts.result:
        return None
    found = rule(facts)
    if found is None or facts.result[0] != 1 or 0 in facts.result:
        return None
    return found


def _elementwise(facts: NodeFacts) -> Local | None:
    """Other operands must be the same at every position."""
    layout, shape = facts.layout, facts.shape(facts.patched[0]) or ()
    for place in range(len(facts.node.input)):
        if place in facts.patched:
            same = facts.layout_of(place) == layout
            if not same or layout.places(facts.shape(place) or ()) != layout.places(shape):
                return None
        elif facts.has(place):
            other = facts.shape(place)
            if other is None or len(other) > layout.rank:
                return None
            aligned = (1,) * (layout.rank - len(other)) + other
            if any(aligned[axis] != 1 for axis in layout.order[:3]):
                return None
    return Local(layout)


def _of_first(facts: NodeFacts) -> Local | None:
    """The other inputs are parameters."""
    return Local(facts.layout) if facts.patched == [0] else None


def _quantized_elementwise(facts: NodeFacts) -> Local | None:
    data = operators.data_places(facts.node.op_type, len(facts.node.input))
    layout = facts.layout
    shapes = [facts.shape(place) for place in data]
    same = list(data) == facts.patched and all(shape == shapes[0] for shape in shapes)
    same = same and all(facts.layout_of(place) == layout for place in data)
    return Local(layout) if same else None


def _rounded(facts: NodeFacts) -> Local | None:
    axis = facts.layout.axis(facts.attributes.get("axis", 1))
    shape = facts.shape(1)
    single = shape is not None and math.prod(shape) == 1
    return _of_first(facts) if single or facts.layout.is_shared({axis}) else None


def _by_channel(facts: NodeFacts) -> Local | None:
    """A BatchNormalization in training mode computes statistics of all positions."""
    if facts.attributes.get("training_mode", 0):
        return None
    return _of_first(facts) if facts.layout.is_shared({1}) else None


def _normalized(facts: NodeFacts) -> Local | None:
    layout = facts.layout
    if facts.op in operators.SKIP_NORMALIZATIONS:
        return None
    first = layout.axis(facts.attributes.get("axis", -1))
    return _of_first(facts) if layout.is_shared(set(range(first, layout.rank))) else None


def _softmax(facts: NodeFacts) -> Local | None:
    if facts.opset < 13:
        return None
    axis = facts.layout.axis(facts.attributes.get("axis", -1))
    return _of_first(facts) if facts.layout.is_shared({axis}) else None


def _reduced(facts: NodeFacts) -> Local | None:
    axes, layout = facts.given("axes", 1), facts.layout
    if not axes or facts.patched != [0] or not facts.attributes.get("keepdims", 1):
        return None
    return Local(layout) if layout.is_shared({layout.axis(axis) for axis in axes}) else None


def _joined(facts: NodeFacts) -> Local | None:
    data, layout = operators.data_places(facts.node.op_type, len(facts.node.input)), facts.layout
    alike = list(data) == facts.patched and all(facts.layout_of(i) == layout for i in data)
    shared = layout.is_shared({layout.axis(facts.attributes["axis"])})
    return Local(layout) if alike and shared else None


def _divided(facts: NodeFacts) -> Local | None:
    axis = facts.layout.axis(facts.attributes.get("axis", 0))
    return _of_first(facts) if facts.layout.is_shared({axis}) else None


def _transposed(facts: NodeFacts) -> Local | None:
    layout = facts.layout
    order = list(facts.attributes.get("perm", reversed(range(layout.rank))))
    if order[0] != 0:
        return None
    return Local(Layout(layout.rank, order.index(layout.rows), order.index(layout.columns)))


def _reshaped(facts: NodeFacts) -> Local | None:
    """Rows and columns stay axes of their own, with as many elements before and after them."""
    before, after, layout = facts.shape(0) or (), facts.result, facts.layout
    if facts.patched != [0] or layout.rows > layout.columns or before[:1] != after[:1]:
        return None
    found = []
    for axis in (layout.rows, layout.columns):
        same = [
            i
            for i in range(1, len(after))
            if after[i] == before[axis] and math.prod(after[:i]) == math.prod(before[:axis])
        ]
        if not same:
            return None
        found.append(same[-1])
    reshapes = facts.op in ("Reshape", "Flatten")
    return Local(Layout(len(after), *found), target=after if reshapes else None)


def _product(facts: NodeFacts) -> Local | None:
    """Input 0 times a matrix, along its last axis."""
    layout, other = facts.layout, facts.shape(facts.patched[0] + 1)
    data = operators.data_places(facts.node.op_type, len(facts.node.input))
    if facts.node.op_type != "MatMul" or facts.patched != [data[0]]:
        return None
    fits = layout.is_shared({layout.rank - 1}) and other is not None and len(other) == 2
    return Local(layout) if fits else None


def _windows(facts: NodeFacts) -> list[tuple[int, int, int, int, int]] | None:
    """Of rows and columns: stride, span, paddings before and after, kernel; None if unusual."""
    data = operators.data_places(facts.node.op_type, len(facts.node.input))
    given, layout = facts.attributes, facts.layout
    planar = (layout.rank, layout.rows, layout.columns) == (4, 2, 3)
    if facts.patched != [data[0]] or not planar or given.get("activation"):
        return None
    weights = facts.shape(data[1]) if len(data) > 1 else None
    kernel = given.get("kernel_shape", weights and weights[2:])
    shape = facts.shape(data[0])
    if not kernel or shape is None:
        return None
    strides = given.get("strides", [1, 1])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, given.get("dilations", [1, 1]), strict=True)]
    pads = _pads(facts, shape[2:], strides, spans)
    # ONNX and ONNX Runtime differ in whether there is a window in the padding after the map.
    if pads is None or (
        given.get("ceil_mode")
        and any((facts.result[2 + i] - 1) * strides[i] >= shape[2 + i] + pads[i] for i in range(2))
    ):
        return None
    return [(strides[i], spans[i], pads[i], pads[i + 2], kernel[i]) for i in range(2)]


def _pads(facts: NodeFacts, sizes: Shape, strides: list[int], spans: list[int]) -> list[int] | None:
    """Paddings before rows and columns, then after them."""
    auto = facts.attributes.get("auto_pad", b"NOTSET")
    name = auto.decode() if isinstance(auto, bytes) else auto
    if name in ("", "NOTSET"):
        return list(facts.attributes.get("pads", [0, 0, 0, 0]))
    if name == "VALID":
        return [0, 0, 0, 0]
    if facts.op == "ConvTranspose":
        return None
    all_ = [
        max(0, (-(-size // stride) - 1) * stride + span - size)
        for size, stride, span in zip(sizes, strides, spans, strict=True)
    ]
    less, more = [n // 2 for n in all_], [n - n // 2 for n in all_]
    return less + more if name == "SAME_UPPER" else more + less


_NO_PADS = {"pads": [0, 0, 0, 0], "auto_pad": None, "ceil_mode": None}


def _window(facts: NodeFacts, fill: float, **changed: Any) -> Local | None:
    found = _windows(facts)
    if found is None:
        return None
    axes = [
        Window(stride, span, before, facts.result[2 + i])
        for i, (stride, span, before, _, _) in enumerate(found)
    ]
    made = {n: v for n, v in _NO_PADS.items() if v is not None or n in facts.attributes}
    return Local(facts.layout, (axes[0], axes[1]), fill, {**made, **changed})


def _convolution(facts: NodeFacts) -> Local | None:
    return _window(facts, 0.0)


def _quantized_convolution(facts: NodeFacts) -> Local | None:
    zero = facts.value(2)
    return None if zero is None or zero.size != 1 else _window(facts, float(zero.reshape(-1)[0]))


def _greatest(facts: NodeFacts) -> Local | None:
    return _window(facts, -math.inf)


def _mean(facts: NodeFacts) -> Local | None:
    """With paddings, only where each window counts all of its positions."""
    found = _windows(facts)
    if found is None:
        return None
    sizes = (facts.shape(facts.patched[0]) or ())[2:]
    for i, (stride, span, before, after, _) in enumerate(found):
        padded = bool(before or after) and not facts.attributes.get("count_include_pad", 0)
        overhangs = (facts.result[2 + i] - 1) * stride + span > sizes[i] + before + after
        if padded or overhangs:
            return None
    return _window(facts, 0.0)


def _spread(facts: NodeFacts) -> Local | None:
    found = _windows(facts)
    given = facts.attributes
    if found is None or "output_shape" in given:
        return None
    axes = [
        Spread(stride, span, before, facts.result[2 + i])
        for i, (stride, span, before, _, _) in enumerate(found)
    ]
    sizes = (facts.shape(facts.patched[0]) or ())[2:]
    if any(
        axis.cropped < 0 or axis.length > (size - 1) * axis.stride + axis.span - axis.before
        for axis, size in zip(axes, sizes, strict=True)
    ):
        return None
    cropped = [axis.cropped for axis in axes]
    made: dict[str, Any] = {"pads": cropped * 2}
    made.update((n, None) for n in ("auto_pad", "output_padding") if n in given)
    return Local(facts.layout, (axes[0], axes[1]), 0.0, made)


def _copied(facts: NodeFacts, sources: Mapping[int, Array], fill: float | None) -> Local | None:
    """Positions along rows and columns are those of `sources`, by axis."""
    layout, shape = facts.layout, facts.shape(0) or ()
    if facts.patched[0] != 0 or not set(sources) <= {layout.rows, layout.columns}:
        return None
    rows, columns = (
        Moved(sources.get(axis, np.arange(shape[axis]))) for axis in (layout.rows, layout.columns)
    )
    return Local(layout, (rows, columns), fill, is_copy=True)


def _sliced(facts: NodeFacts) -> Local | None:
    starts, ends = facts.given("starts", 1), facts.given("ends", 2)
    shape, layout = facts.shape(0) or (), facts.layout
    if starts is None or ends is None or facts.patched != [0]:
        return None
    axes = facts.given("axes", 3) or list(range(len(starts)))
    steps = facts.given("steps", 4) or [1] * len(starts)
    sources = {
        layout.axis(axis): np.arange(shape[axis])[_limited(start) : _limited(end) : step]
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    }
    own = {axis: s for axis, s in sources.items() if not np.array_equal(s, np.arange(shape[axis]))}
    return Local(layout) if layout.is_shared(set(own)) else _copied(facts, own, None)


def _limited(bound: int) -> int | None:
    """A bound of a slice; None for one that stands for the end, in either direction."""
    return None if abs(bound) > 2**30 else bound


def _padded(facts: NodeFacts) -> Local | None:
    pads, layout, shape = facts.given("pads", 1), facts.layout, facts.shape(0) or ()
    mode = facts.attributes.get("mode", b"constant")
    if pads is None or facts.patched != [0] or len(pads) != 2 * len(shape):
        return None
    value = facts.value(2)
    given = facts.attributes.get("value", 0.0) if value is None else value.reshape(-1)[0]
    sources = {}
    for axis, (before, after) in enumerate(
        zip(pads[: len(shape)], pads[len(shape) :], strict=True)
    ):
        if before or after:
            sources[axis] = _around(shape[axis], before, after, mode)
    if any(source is None for source in sources.values()):
        return None
    known = {axis: source for axis, source in sources.items() if source is not None}
    return _copied(facts, known, float(given)) if known else Local(layout)


def _around(length: int, before: int, after: int, mode: bytes | str) -> Array | None:
    """The source of each position of a padded axis."""
    if before < 0 or after < 0:
        return None
    name = mode.decode() if isinstance(mode, bytes) else mode
    if name == "constant":
        return np.pad(np.arange(length), (before, after), constant_values=OUTSIDE)
    kinds = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if name not in kinds or (name == "reflect" and max(before, after) >= length):
        return None
    made: Array = np.pad(np.arange(length), (before, after), mode=kinds[name])  # type: ignore[call-overload]
    return made


def _resized(facts: NodeFacts) -> Local | None:
    """Nearest neighbors are copies of positions; other modes need whole maps."""
    layout, shape = facts.layout, facts.shape(0) or ()
    text = {n: v.decode() if isinstance(v, bytes) else v for n, v in facts.attributes.items()}
    if text.get("mode", "nearest") != "nearest" or facts.patched != [0] or "axes" in text:
        return None
    is_old = facts.opset < 11
    place = text.get("coordinate_transformation_mode", "asymmetric" if is_old else "half_pixel")
    rounding = text.get("nearest_mode", "floor" if is_old else "round_prefer_floor")
    centers = {"asymmetric": 0.0, "half_pixel": 0.5, "pytorch_half_pixel": 0.5}
    if place not in centers or rounding not in _ROUNDED:
        return None
    sources = {}
    for axis in range(layout.rank):
        if facts.result[axis] == shape[axis]:
            continue
        if facts.result[axis] % shape[axis]:
            return None  # the scale may be rounded
        scale, center = facts.result[axis] / shape[axis], centers[place]
        at = (np.arange(facts.result[axis]) + center) / scale - center
        sources[axis] = np.clip(_ROUNDED[rounding](at), 0, shape[axis] - 1).astype(np.int64)
    return _copied(facts, sources, None)


_ROUNDED: Mapping[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
}


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(operators.UNARY | operators.COPIES, _of_first),
    **dict.fromkeys(operators.BROADCASTING, _elementwise),
    **dict.fromkeys(("QLinearLeakyRelu", "QLinearSigmoid"), _of_first),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), _quantized_elementwise),
    **dict.fromkeys(operators.ROUNDS, _rounded),
    **dict.fromkeys(("BatchNormalization", "LRN"), _by_channel),
    **dict.fromkeys(operators.LAYER_NORMALIZATIONS, _normalized),
    **dict.fromkeys(operators.SOFTMAXES, _softmax),
    **dict.fromkeys(operators.REDUCTIONS, _reduced),
    **dict.fromkeys(("Concat", "QLinearConcat"), _joined),
    **dict.fromkeys(operators.KEEPS_ORDER, _reshaped),
    "Split": _divided,
    "Transpose": _transposed,
    "MatMul": _product,
    "Conv": _convolution,
    "QLinearConv": _quantized_convolution,
    "FusedConv": _convolution,
    "ConvTranspose": _spread,
    "MaxPool": _greatest,
    "AveragePool": _mean,
    "Slice": _sliced,
    "Pad": _padded,
    "Resize": _resized,
    "Upsample": _resized,
}
"""By operator, how a patch of its output follows from patches of its inputs."""
