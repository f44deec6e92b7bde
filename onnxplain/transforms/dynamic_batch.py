"""Make a model that was exported for one sample accept any number of samples.

Each operator that may assume a batch of 1 has a rule that makes it accept any batch. A rule is
called before the node's outputs are inferred. It edits the node and adds nodes before it, or leaves
the node as it is where it does not know how. For one sample the graph computes the same as before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from onnxplain.analysis.batch_axis import MANY, Batch, Growth, batch_axis
from onnxplain.model.graph_index import all_graphs, attributes
from onnxplain.model.operators import BROADCASTING, KNOWN_DOMAINS, RECURRENT, standard_form
from onnxplain.model.shapes import Shape
from onnxplain.tensors import Array
from onnxplain.transforms.dynamic_batch_editor import Editor

Rule = Callable[[Editor, NodeProto, Batch], None]
"""Edits a node whose first input has a batch axis."""

Alignment = Callable[[NodeProto, int, int, Shape], int | None]
"""The axis along which a constant input must be repeated for each sample; None if none.

Called with the node, the index of the input, the batch axis, and the constant's shape. Both axes
are negative, counted from the last.
"""


def make_batch_dynamic(model: ModelProto, inputs: Sequence[str]) -> ModelProto:
    """A copy of `model` that accepts any number of samples, where the rules cover its operators.

    `inputs` names the inputs whose first dimension is the batch. The model may declare it as 1, or
    declare any batch and still work for 1 only. The dimension gets a name, shapes that no longer
    hold are removed, and nodes that assume a batch of 1 are rewritten. Other nodes stay as they
    are, so the result may still fail or mix samples: compare a batch of different samples with
    single runs before using it.

    Weights, references to external data, and the names of nodes, tensors, inputs and outputs stay
    as they are; nodes may be added and constant shapes replaced. Nothing is run.
    """
    rebatched = deepcopy(model)
    for body in list(all_graphs(rebatched.graph))[1:]:
        _drop_shapes(body)
    editor = Editor(rebatched, inputs)
    for node in rebatched.graph.node:
        _rewrite(editor, node)
        editor.keep(node)
    editor.finish()
    _declare_shapes(rebatched.graph, editor, inputs)
    return rebatched


def _drop_shapes(body: GraphProto) -> None:
    """Remove the shapes inside an If, Loop or Scan: its tensors may have a batch axis."""
    del body.value_info[:]
    for value in itertools.chain(body.input, body.output):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def _declare_shapes(graph: GraphProto, growth: Growth, inputs: Sequence[str]) -> None:
    """Name the batch in all declared shapes, and remove shapes that may no longer hold."""
    name = _batch_name(graph, inputs)
    for value in itertools.chain(graph.input, graph.value_info, graph.output):
        if value.type.HasField("tensor_type") and not growth.is_constant(value.name):
            _declare(value, growth.batch(value.name), name)


def _declare(value: ValueInfoProto, batch: Batch | None, name: str) -> None:
    tensor = value.type.tensor_type
    if batch is None or len(tensor.shape.dim) != len(batch.dims):
        tensor.ClearField("shape")
    elif batch.size == 1:
        tensor.shape.dim[batch.axis].dim_param = name
    else:
        tensor.shape.dim[batch.axis].Clear()


def _batch_name(graph: GraphProto, inputs: Sequence[str]) -> str:
    """The name of the batch dimension in the model, or a name that no other dimension has."""
    dims = {value.name: value.type.tensor_type.shape.dim for value in graph.input}
    given = (dims[name][0].dim_param for name in inputs if dims.get(name))
    taken = {dim.dim_param for own in dims.values() for dim in own[1:]}
    candidates = itertools.chain(given, ["batch"], (f"batch_{i}" for i in itertools.count()))
    return next(str(name) for name in candidates if name and name not in taken)


def _rewrite(editor: Editor, node: NodeProto) -> None:
    """Make a node accept any batch if it assumes a batch of 1 and there is a rule for it."""
    if node.domain not in KNOWN_DOMAINS or not node.input:
        return
    batch = editor.batch(node.input[0])
    if node.op_type in _RULES and batch is not None:
        _RULES[node.op_type](editor, node, batch)
    elif (align := _ALIGNMENTS.get(standard_form(node.op_type))) is not None:
        _repeat_constants(editor, node, align)


def _reshape(editor: Editor, node: NodeProto, batch: Batch) -> None:
    """Put -1 into the target shape for the batch, or 0 where -1 is used for another dimension."""
    target = node.input[1]
    wanted, dims = editor.one.value(target), editor.one.shape_of_result(node)
    if wanted is None or dims is None or 0 in dims:
        return
    written = batch_axis(dims, editor.many.shape_of_result(node))
    axis = _axis_for_batch(batch, dims, written)
    if axis is None or axis == written:
        return
    # None where the graph works for one picture size only, even if it declares open dimensions.
    resized = editor.resized.shape_of_result(node) or dims
    others = [i for i in range(len(dims)) if i != axis]
    if all(dims[i] == resized[i] for i in others):
        shape = editor.constant([-1 if i == axis else dim for i, dim in enumerate(dims)])
        editor.replace_input(node, 1, shape)
    elif all(wanted[i] != -1 for i in others):
        editor.replace_element(node, 1, axis, editor.constant([-1]))
    elif axis == batch.axis and dims[axis] == batch.size:
        editor.replace_element(node, 1, axis, editor.constant([0]))
        _drop_attribute(node, "allowzero")


def _axis_for_batch(batch: Batch, dims: Shape, written: int | None) -> int | None:
    """The axis of the batch after a Reshape to `dims`; None if there is none.

    Elements keep their order, so the number of elements in the dimensions before the batch does not
    change. Among several such axes the order of preference is: one of size 1, the axis `written`
    that the node makes the batch as it is, any axis but the last (features), the axis before.
    """
    candidates: list[tuple[tuple[bool, ...], int]] = []
    leading = 1
    for axis, dim in enumerate(dims):
        leads = leading == batch.outside
        blocks, rest = divmod(batch.outside, leading)
        if leads or (rest == 0 and dim % blocks == 0):
            own, inner = leads and dim == 1, axis < len(dims) - 1
            candidates.append(((own, axis == written, inner, axis == batch.axis), -axis))
        leading *= dim
    return -max(candidates)[1] if candidates else None


def _flatten(editor: Editor, node: NodeProto, batch: Batch) -> None:
    """Do not flatten a leading batch of 1 with the other axes."""
    axis = attributes(node).get("axis", 1) % (len(batch.dims) + 1)
    if axis <= batch.axis and all(dim == 1 for dim in batch.dims[: batch.axis + 1]):
        _set_attribute(node, "axis", batch.axis + 1)


def _expand(editor: Editor, node: NodeProto, batch: Batch) -> None:
    """Put 1 into the target shape for the batch: Expand to 1 keeps the input's dimension."""
    place = _stated(editor, node.input[1], batch)
    if place is not None and batch.size != 1:
        editor.replace_element(node, 1, place, editor.constant([1]))


def _resize(editor: Editor, node: NodeProto, batch: Batch) -> None:
    """Where `sizes` contains the batch, replace it by the size of the data."""
    data, sizes = node.input[0], node.input[3] if len(node.input) > 3 else ""
    place = _stated(editor, sizes, batch)
    if place == batch.axis:
        editor.replace_element(node, 3, place, editor.size(data, place))


def _stated(editor: Editor, sizes: str, batch: Batch) -> int | None:
    """The index of a fixed batch in a vector of sizes, which ends with the last axis, or None."""
    one, many = editor.one.value(sizes), editor.many.value(sizes)
    if one is None or many is None:
        return None
    place = len(one) - len(batch.dims) + batch.axis
    return place if place >= 0 and one[place] == many[place] == batch.size else None


def _slice(editor: Editor, node: NodeProto, batch: Batch) -> None:
    """Where a slice takes the whole batch axis of one sample, take the whole axis of any batch."""
    bounds = _slice_bounds(editor, node)
    if bounds is None:
        return
    starts, ends, axes, steps = bounds
    from_start = (steps == 1) & ((starts == 0) | (starts <= -batch.size))
    stated = (batch.size <= ends) & (ends < batch.size * MANY)
    baked = (axes % len(batch.dims) == batch.axis) & from_start & stated
    if not baked.any():
        return
    ends = np.where(baked, np.iinfo(ends.dtype).max, ends)
    if len(node.input) == 1:
        _set_attribute(node, "ends", ends.tolist())
    else:
        editor.replace_input(node, 2, editor.constant(ends))


def _slice_bounds(editor: Editor, node: NodeProto) -> tuple[Array, Array, Array, Array] | None:
    """Starts, ends, axes and steps of a Slice; None unless they are constant.

    They are attributes before opset 10 and inputs since.
    """
    given = {name: np.asarray(value) for name, value in attributes(node).items()}
    names = ("starts", "ends", "axes", "steps")
    for name, tensor in zip(names, node.input[1:], strict=False):
        value = editor.fixed_value(tensor)
        if value is not None:
            given[name] = value
        elif tensor:
            return None
    starts, ends = given["starts"], given["ends"]
    return starts, ends, given.get("axes", np.arange(len(starts))), given.get("steps", 0 * ends + 1)


def _gather(editor: Editor, node: NodeProto, batch: Batch) -> None:
    """Where the batch is merged with another axis, gather the same indices for each sample."""
    data, indices = node.input
    axis = attributes(node).get("axis", 0) % len(batch.dims)
    picked = editor.one.shape(indices)
    if axis != batch.axis or batch.outer != 1 or not editor.is_constant(indices) or not picked:
        return
    fixed = editor.resized.shape(data) == batch.dims and editor.resized.shape(indices) == picked
    if not fixed or picked[0] != 1:
        return
    by_sample = editor.constant([*batch.dims[:axis], -1, *batch.dims[axis:]])
    editor.replace_input(node, 0, editor.add("Reshape", [data, by_sample]))
    editor.replace_input(node, 1, editor.add("Reshape", [indices, editor.constant(picked[1:])]))
    _set_attribute(node, "axis", axis + 1)


def _set_attribute(node: NodeProto, name: str, value: int | list[int]) -> None:
    _drop_attribute(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def _drop_attribute(node: NodeProto, name: str) -> None:
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name == name:
            del node.attribute[index]


def _repeat_constants(editor: Editor, node: NodeProto, align: Alignment) -> None:
    """Repeat constant inputs for each sample, along the axis that `align` returns."""
    batch = next(filter(None, map(editor.batch, node.input)), None)
    if batch is None or batch.outer != 1:
        return
    for index, name in enumerate(node.input):
        dims = editor.one.shape(name)
        if not editor.is_constant(name) or not dims:
            continue
        axis = align(node, index, batch.axis - len(batch.dims), dims)
        if axis is not None and -axis <= len(dims) and dims[axis] == batch.size:
            repeated = editor.repeated(name, len(dims), axis % len(dims))
            editor.replace_input(node, index, repeated)


def _broadcast(node: NodeProto, index: int, axis: int, dims: Shape) -> int | None:
    return axis if -axis <= len(dims) and dims[axis] > 1 else None


def _stack_of_matrices(node: NodeProto, index: int, axis: int, dims: Shape) -> int | None:
    return _broadcast(node, index, axis, dims) if axis < -2 else None


def _across(node: NodeProto, index: int, axis: int, dims: Shape) -> int | None:
    """For an operator with an attribute `axis`: the batch axis, unless it is that axis."""
    own = attributes(node).get("axis", 0)
    return axis if axis % len(dims) != own % len(dims) else None


def _same_axis(node: NodeProto, index: int, axis: int, dims: Shape) -> int | None:
    return axis


def _recurrent_state(node: NodeProto, index: int, axis: int, dims: Shape) -> int | None:
    """For RNN, GRU and LSTM: the batch axis of lengths (input 4) and initial states (5 and 6)."""
    return {4: -1, 5: axis, 6: axis}.get(index)


_RULES: dict[str, Rule] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Expand": _expand,
    "Resize": _resize,
    "Slice": _slice,
    "Gather": _gather,
}

_ALIGNMENTS: dict[str, Alignment] = {
    **dict.fromkeys(BROADCASTING, _broadcast),
    "MatMul": _stack_of_matrices,
    **dict.fromkeys(["Concat", "GatherElements", "ScatterElements"], _across),
    "GridSample": _same_axis,
    **dict.fromkeys(RECURRENT, _recurrent_state),
}
