"""How the tensors of a graph grow with the batch, found without running the model.

The shapes of the same graph are inferred several times: for one sample, for many, and for one
sample of another size where pictures may have any. The dimension that differs between one sample
and many is the batch.
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
"""How many samples "many" are: a prime that no model has as a dimension of its own."""

# They stand in for dimensions that the model leaves open. Far enough apart that no padding to whole
# windows or rounding in a stride makes what follows from them equal.
_PICTURE_SIZES = (224, 448)


class Batch(NamedTuple):
    """Where a tensor carries the batch: for n samples, `dims[axis]` becomes n times as large."""

    dims: Shape
    """The tensor's shape for one sample."""
    axis: int
    outer: int = 1
    """How many blocks of n samples follow one another along the axis.

    It is 1 where each sample's part is contiguous, as when windows or heads were merged into the
    batch, and not where the batch was merged into positions.
    """

    @property
    def size(self) -> int:
        """The dimension for one sample: more than 1 where something is merged with the batch."""
        return self.dims[self.axis]

    @property
    def outside(self) -> int:
        """How many elements of one sample there are in all the dimensions outside the batch."""
        return math.prod(self.dims[: self.axis]) * self.outer


def has_fixed_batch(model: ModelProto, input_name: str) -> int | None:
    """The leading dimension of an input where the model fixes it, else None.

    An input cannot be empty: a 0 stands for an open dimension.
    """
    for value in model.graph.input:
        if value.name == input_name:
            leading = next(iter(dims_of(value.type) or ()), None)
            return leading or None if isinstance(leading, int) else None
    return None


class Growth:
    """What is known about every tensor of a graph while its nodes are visited in order.

    `one`, `many` and `resized` are what is known for one sample, many samples, and one sample of
    another size.
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
        """Learn a new initializer."""
        for env in self._envs:
            env.add_constant(tensor)

    def visit(self, node: NodeProto) -> None:
        """Learn the outputs of a node."""
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
        """Where a tensor carries the batch; None where it does not, or where it is not known."""
        return self._batches.get(name)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is known to be the same for every sample and every size of the batch."""
        dims = self.one.shape(name)
        same = dims is not None and dims == self.many.shape(name)
        return same and name not in self._depends_on_data

    def fixed_value(self, name: str) -> Array | None:
        """The value of a small tensor if it is the same in all of them."""
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
    """Shapes of a graph's inputs for one size of batch and picture, where their rank is declared.

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
    """The only dimension that differs between one sample and many, if it grows in proportion."""
    if one is None or many is None or len(one) != len(many) or 0 in one:
        return None
    changed = [axis for axis, (a, b) in enumerate(zip(one, many, strict=True)) if a != b]
    in_proportion = [axis for axis in changed if many[axis] == one[axis] * MANY]
    return changed[0] if len(changed) == len(in_proportion) == 1 else None
