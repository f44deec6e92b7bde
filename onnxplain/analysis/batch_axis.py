"""The batch axis of each tensor of a graph, found without running the model.

The shapes of the same graph are inferred several times: for one sample, for many samples, and for
one sample of another picture size where the model accepts any. The dimension that differs between
one sample and many is the batch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from onnxplain.model.graph_index import reads
from onnxplain.model.model import dims_of
from onnxplain.model.operators import KEEPS_ORDER, SIZE_READERS
from onnxplain.model.shapes import Shape, ShapeEnv
from onnxplain.tensors import Array

MANY = 1009
"""Number of samples that is "many": a prime that no model is likely to have as a dimension."""

# Used for dimensions that the model leaves open. They differ enough that later sizes stay different
# after padding to whole windows or rounding in a stride.
_PICTURE_SIZES = (224, 448)


class Batch(NamedTuple):
    """The batch axis of a tensor: for n samples, `dims[axis]` becomes n times as large."""

    dims: Shape
    """The tensor's shape for one sample."""
    axis: int
    outer: int = 1
    """Number of blocks along the axis, each of which holds n samples.

    It is 1 where the elements of a sample are contiguous, as when windows or heads were merged into
    the batch. It is more where the batch was merged into positions.
    """

    @property
    def size(self) -> int:
        """`dims[axis]`: more than 1 where another axis is merged with the batch."""
        return self.dims[self.axis]

    @property
    def outside(self) -> int:
        """Number of elements of one sample in the dimensions before the batch, times `outer`."""
        return math.prod(self.dims[: self.axis]) * self.outer


def has_fixed_batch(model: ModelProto, input_name: str) -> int | None:
    """The first dimension of an input where it is static, else None.

    An input cannot be empty: a 0 means an open dimension.
    """
    types = {value.name: value.type for value in model.graph.input}
    leading, *_ = dims_of(types.get(input_name)) or (None,)
    return leading or None if isinstance(leading, int) else None


class Growth:
    """Shapes and the batch axis of each tensor of a graph, inferred node by node in order.

    `one`, `many` and `resized` are the shapes and values for one sample, for `MANY` samples, and
    for one sample of another picture size. `inputs` are those whose first axis is the batch.
    """

    def __init__(self, model: ModelProto, inputs: Sequence[str]) -> None:
        size, other_size = _PICTURE_SIZES
        self.one, self.many, self.resized = (
            ShapeEnv.of_inputs(model, concrete_shapes(model, inputs, samples, picture))
            for samples, picture in ((1, size), (MANY, size), (1, other_size))
        )
        if all(self.one.shape(v.name) == self.resized.shape(v.name) for v in model.graph.input):
            self.resized = self.one
        self._envs = tuple(dict.fromkeys([self.one, self.many, self.resized]))
        self._depends_on_data = set(inputs)
        self._batches = {
            name: Batch(dims, axis=0) for name in inputs if (dims := self.one.shape(name))
        }

    def add_constant(self, tensor: TensorProto) -> None:
        """Add an initializer."""
        for env in self._envs:
            env.add_constant(tensor)

    def visit(self, node: NodeProto) -> None:
        """Infer the outputs of a node."""
        for env in self._envs:
            env.visit(node)
        sources = [] if node.op_type in SIZE_READERS else reads(node)
        reads_data = not self._depends_on_data.isdisjoint(sources)
        for name in filter(None, node.output):
            batch = self._locate(node, name)
            if batch is not None:
                self._batches[name] = batch
            if reads_data:
                self._depends_on_data.add(name)

    def batch(self, name: str) -> Batch | None:
        """The batch axis of a tensor; None where it has none or it is not known."""
        return self._batches.get(name)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is known to be the same for every sample and every batch size."""
        dims = self.one.shape(name)
        same = dims is not None and dims == self.many.shape(name)
        return same and name not in self._depends_on_data

    def fixed_value(self, name: str) -> Array | None:
        """The value of a small tensor if it is the same in `one`, `many` and `resized`."""
        first, *others = (env.value(name) for env in self._envs)
        if first is None or any(o is None or not np.array_equal(first, o) for o in others):
            return None
        return first

    def _locate(self, node: NodeProto, name: str) -> Batch | None:
        dims = self.one.shape(name)
        axis = batch_axis(dims, self.many.shape(name))
        if dims is None or axis is None:
            return None
        for batch in (self._batches[source] for source in reads(node) if source in self._batches):
            if node.op_type in KEEPS_ORDER:
                outer, rest = divmod(batch.outside, math.prod(dims[:axis]))
                return Batch(dims, axis, outer) if outer and not rest else None
            if batch.size == dims[axis]:
                return Batch(dims, axis, batch.outer)
        return Batch(dims, axis)


def concrete_shapes(
    model: ModelProto, inputs: Collection[str], samples: int, picture: int
) -> dict[str, Shape]:
    """Static shapes of a graph's inputs; inputs of undeclared rank are left out.

    `samples` becomes the first dimension of every input in `inputs`, and `picture` every other
    dimension that the model leaves open.
    """
    shapes = {}
    for value in model.graph.input:
        declared = dims_of(value.type)
        if declared is not None:
            dims = [dim if isinstance(dim, int) and dim else picture for dim in declared]
            if value.name in inputs:
                dims[:1] = [samples][: len(dims)]
            shapes[value.name] = tuple(dims)
    return shapes


def batch_axis(one: Shape | None, many: Shape | None) -> int | None:
    """The only axis that differs between `one` and `many`, if it is `MANY` times as large."""
    if one is None or many is None or len(one) != len(many) or 0 in one:
        return None
    changed = [axis for axis, (a, b) in enumerate(zip(one, many, strict=True)) if a != b]
    in_proportion = [axis for axis in changed if many[axis] == one[axis] * MANY]
    return changed[0] if len(changed) == len(in_proportion) == 1 else None
