"""What a graph does with each channel of a picture before its first layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from onnxplain.analysis.layout import PICTURE_RANK
from onnxplain.images.geometry import Size
from onnxplain.images.graph_values import FirstSteps
from onnxplain.model.constants import constant_value, constant_values
from onnxplain.model.graph_index import attributes, reads, reads_sizes
from onnxplain.model.model import Model
from onnxplain.model.operators import COPIES
from onnxplain.model.shapes import Dims, infer_specs
from onnxplain.tensors import Array


@dataclass(frozen=True, eq=False)
class _Channels:
    """A tensor whose channels are `matrix` @ the input's channels + `offset`, at every position.

    `matrix` is (own channels, channels of the input). `axis` is the axis of the channels, None
    where a single channel has none.
    """

    matrix: Array
    offset: Array
    axis: int | None
    rank: int

    def scaled(self, factor: Array | float, offset: Array | float) -> _Channels:
        """Channels times factors plus offsets: one number, or one for each channel."""
        matrix = self.matrix * np.reshape(factor, (-1, 1))
        return replace(self, matrix=matrix, offset=self.offset * factor + offset)

    def chosen(self, which: Array | slice) -> _Channels:
        """Some of the channels."""
        return replace(self, matrix=self.matrix[which], offset=self.offset[which])

    def placed(self, axis: int | None, rank: int) -> _Channels:
        """The same channels on another axis."""
        return replace(self, axis=axis, rank=rank)


Known = Mapping[str, _Channels]
Follow = Callable[[Model, NodeProto, Known], Sequence[_Channels] | None]
"""The channels of a node's outputs; None where it does more than change or move channels."""


def first_steps(model: Model, name: str, axis: int, channels: int) -> FirstSteps | None:
    """What the graph does first with the input `name`, whose `axis` of four holds the channels.

    Nodes that change a channel at every position alike are followed: conversions, arithmetic with
    constants, batch normalizations, convolutions of single pixels, resizing, and nodes that move
    channels or positions. None if the nodes after them do not all read a channel of the input with
    the same changes, or if they read a mixture of channels.
    """
    known = {name: _Channels(np.eye(channels), np.zeros(channels), axis, PICTURE_RANK)}
    ends: dict[str, _Channels] = {}
    resized: Size | None = None
    for node in model.index.nodes:
        own = [tensor for tensor in reads(node) if tensor in known]
        if not own or reads_sizes(node):
            continue
        follow = _FOLLOWED.get(node.op_type)
        made = None if follow is None else _followed(follow, model, node, known)
        if made is None:
            ends.update((tensor, known[tensor]) for tensor in own)
            continue
        known.update(zip(node.output, made, strict=False))
        if node.op_type == "Resize":
            spec = infer_specs(model.proto).get(node.output[0])
            resized = resized or _size(None if spec is None else spec.shape, made[0].axis)
    return _of_input([*ends.values()], channels, resized)


def _followed(
    follow: Follow, model: Model, node: NodeProto, known: Known
) -> Sequence[_Channels] | None:
    """As `follow`; None where the constants of a node do not fit the channels.

    ONNX Runtime then refuses the model, with the reason.
    """
    try:
        return follow(model, node, known)
    except (IndexError, OverflowError, TypeError, ValueError):
        return None


def _of_input(ends: Sequence[_Channels], channels: int, resized: Size | None) -> FirstSteps | None:
    """The changes of each channel of the input, if all that read it agree."""
    matrix = np.concatenate([end.matrix for end in ends] or [np.zeros((0, channels))])
    offset = np.concatenate([end.offset for end in ends] or [np.zeros(0)])
    factors, offsets = np.zeros(channels), np.zeros(channels)
    for channel in range(channels):
        rows = matrix[:, channel] != 0
        changes = np.c_[matrix[rows, channel], offset[rows]]
        if not rows.any() or np.count_nonzero(matrix[rows]) > rows.sum():
            return None
        if not np.allclose(changes, changes[0], rtol=1e-5):
            return None
        factors[channel], offsets[channel] = changes[0]
    return FirstSteps(factors, offsets, resized)


def _size(dims: Dims | None, axis: int | None) -> Size | None:
    """Rows and columns, if they are static."""
    found = [dim for i, dim in enumerate(dims or ()) if i not in (0, axis)]
    rows, columns = found if len(found) == 2 else (None, None)
    return (rows, columns) if isinstance(rows, int) and isinstance(columns, int) else None


def _same(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    return [known[node.input[0]]] if node.input[0] in known else None


def _arithmetic(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    first, second = node.input
    if first in known and second in known:
        return None
    x = known[first] if first in known else known[second]
    number = _by_channel(constant_value(model, second if first in known else first), x)
    if number is None or (node.op_type == "Div" and (second in known or (number == 0).any())):
        return None
    flipped = -1.0 if second in known else 1.0
    change: Mapping[str, tuple[Array | float, Array | float]] = {
        "Add": (1.0, number),
        "Sub": (flipped, -flipped * number),
        "Mul": (number, 0.0),
        "Div": (1 / np.where(number == 0, 1, number), 0.0),
    }
    return [x.scaled(*change[node.op_type])]


def _by_channel(value: Array | None, x: _Channels) -> Array | None:
    """One number, or one for each channel of `x`; None where it differs between positions."""
    if value is None or value.ndim > x.rank:
        return None
    wide = value.astype(np.float64).reshape([1] * (x.rank - value.ndim) + list(value.shape))
    others = [size for axis, size in enumerate(wide.shape) if axis != x.axis]
    if wide.size != 1 and (x.axis is None or set(others) != {1}):
        return None
    return wide.reshape(-1)


def _dequantize(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    values = constant_values(model, filter(None, node.input[1:]))
    if node.input[0] not in known or values is None or any(value.size != 1 for value in values):
        return None
    scale, zero = [float(value.item()) for value in [*values, np.zeros(1)]][:2]
    return [known[node.input[0]].scaled(scale, -scale * zero)]


def _normalize(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    values = constant_values(model, node.input[1:])
    x = known.get(node.input[0])
    if x is None or values is None or x.axis != 1 or len(node.output) > 1:
        return None
    scale, bias, mean, variance = (value.astype(np.float64) for value in values)
    factor = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    return [x.scaled(factor, bias - mean * factor)]


def _convolve(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    """A convolution whose kernel is one pixel, with as many channels as before."""
    values = constant_values(model, node.input[1:])
    x, given = known.get(node.input[0]), attributes(node)
    if x is None or values is None or x.axis != 1 or any(given.get("pads", ())):
        return None
    weights, bias = [*values, np.zeros(1)][:2]
    count = len(x.offset)
    if weights.shape[0] != count or set(weights.shape[2:]) != {1} or x.rank != weights.ndim:
        return None
    per_group = weights.shape[1]
    matrix = np.zeros((count, count))
    for row in range(count):
        start = row // per_group * per_group
        matrix[row, start : start + per_group] = weights[row].ravel()
    if np.count_nonzero(matrix) > count:
        return None
    return [replace(x, matrix=matrix @ x.matrix, offset=matrix @ x.offset + bias)]


def _transpose(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    x = known[node.input[0]]
    order = list(attributes(node).get("perm", range(x.rank)[::-1]))
    return [x.placed(None if x.axis is None else order.index(x.axis), x.rank)]


def _gather(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    x, which = known.get(node.input[0]), constant_value(model, node.input[1])
    if x is None or which is None or which.ndim > 1 or x.axis is None:
        return None
    axis = attributes(node).get("axis", 0) % x.rank
    if axis != x.axis:
        return [x if which.ndim else x.placed(x.axis - (axis < x.axis), x.rank - 1)]
    chosen = x.chosen(which.reshape(-1))
    return [chosen if which.ndim else chosen.placed(None, x.rank - 1)]


def _slice(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    x, given = known.get(node.input[0]), attributes(node)
    if x is None or "starts" in given:
        return None
    starts, stops, axes, steps = [*node.input, "", ""][1:5]
    first = constant_value(model, axes or starts)
    if first is None or first.ndim != 1:
        return None
    at = [int(axis) % x.rank for axis in (first if axes else range(len(first)))]
    if x.axis not in at:
        return [x]
    values = constant_values(model, [name for name in (starts, stops, steps) if name])
    if values is None or any(value.shape != first.shape for value in values):
        return None
    start, stop, *step = (int(value[at.index(x.axis)]) for value in values)
    return None if step == [0] else [x.chosen(_span(start, stop, *step))]


def _span(start: int, stop: int, step: int = 1) -> slice:
    """The indices of a Slice; a stop far before the first one means up to the first."""
    return slice(start, None if step < 0 and stop < -1000 else stop, step)


def _split(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    x, given = known[node.input[0]], attributes(node)
    if given.get("axis", 0) % x.rank != x.axis:
        return [x] * len(node.output)
    sizes = given.get("split")
    if len(node.input) > 1:
        sizes = constant_value(model, node.input[1])
        if sizes is None:
            return None
    if sizes is None:
        sizes = [-(-len(x.offset) // len(node.output))] * len(node.output)
    stops = np.cumsum(sizes)
    return [x.chosen(slice(stop - size, stop)) for size, stop in zip(sizes, stops, strict=True)]


def _concat(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    if not all(name in known for name in node.input):
        return None
    parts = [known[name] for name in node.input]
    axis = attributes(node)["axis"] % parts[0].rank
    if any(part.axis != axis for part in parts):
        return None
    matrix = np.concatenate([part.matrix for part in parts])
    offset = np.concatenate([part.offset for part in parts])
    return [replace(parts[0], matrix=matrix, offset=offset)]


def _unsqueeze(model: Model, node: NodeProto, known: Known) -> Sequence[_Channels] | None:
    """A new axis; it becomes that of the channels where a single channel has none."""
    x = known[node.input[0]]
    axes = attributes(node).get("axes")
    if len(node.input) > 1:
        axes = constant_value(model, node.input[1])
    if axes is None or len(axes) != 1:
        return None
    new = int(axes[0]) % (x.rank + 1)
    if x.axis is None:
        return [x.placed(new, x.rank + 1)]
    return [x.placed(x.axis + (new <= x.axis), x.rank + 1)]


_FOLLOWED: Mapping[str, Follow] = {
    **dict.fromkeys([*COPIES, "Resize"], _same),
    **dict.fromkeys(["Add", "Sub", "Mul", "Div"], _arithmetic),
    "BatchNormalization": _normalize,
    "Concat": _concat,
    "Conv": _convolve,
    "DequantizeLinear": _dequantize,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
