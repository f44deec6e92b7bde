"""Adds nodes to a graph while its nodes are visited in order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnxplain.analysis.batch_axis import Growth
from onnxplain.model.graph_index import all_names, reads
from onnxplain.transforms.builder import PREFIX

_LOWEST_IR_VERSION = 4  # before this version every initializer must also be an input


class Editor(Growth):
    """What a rule can use: shapes and batch axes of tensors, and methods to add and edit nodes.

    Nodes are added before the node of the rule. Equal constants and equal nodes are added once.
    Methods take and return names of tensors.
    """

    def __init__(self, model: ModelProto, inputs: Sequence[str]) -> None:
        super().__init__(model, inputs)
        self._model = model
        self._picture = inputs[0]
        self._taken = all_names(model.graph)
        self._nodes: list[NodeProto] = []
        self._known: dict[object, str] = {}
        self._replaced: set[str] = set()

    def keep(self, node: NodeProto) -> None:
        """Append a node, and infer its outputs."""
        self.visit(node)
        self._nodes.append(node)

    def constant(self, value: ArrayLike) -> str:
        """Add a constant and return its name; numbers become int64, arrays keep their type."""
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.int64)
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._known:
            tensor = numpy_helper.from_array(array, self._new_name("constant"))
            self._model.graph.initializer.append(tensor)
            self.add_constant(tensor)
            self._known[key] = tensor.name
        return self._known[key]

    def add(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        key = (op_type, *inputs, *attributes.items())
        if key not in self._known:
            name = self._new_name(op_type.lower())
            node = helper.make_node(op_type, inputs, [name], name=name, **attributes)
            self.keep(node)
            self._known[key] = name
        return self._known[key]

    def size(self, tensor: str, axis: int) -> str:
        """The dimension of `tensor` at `axis`, as int64 of shape (1,)."""
        return self.add("Gather", [self.add("Shape", [tensor]), self.constant([axis])], axis=0)

    def repeated(self, tensor: str, rank: int, axis: int) -> str:
        """A tensor of that rank, repeated along `axis` once for each sample."""
        ones = self.constant([1] * rank)
        repeats = self.with_element(ones, axis, self.size(self._picture, 0))
        return self.add("Tile", [tensor, repeats])

    def with_element(self, vector: str, index: int, element: str) -> str:
        """A copy of a vector with the element at `index` replaced by `element`, of shape (1,)."""
        (length,) = self.one.shape(vector) or (0,)
        around = [list(range(index)), list(range(index + 1, length))]
        before, after = ([self._pick(vector, places)] if places else [] for places in around)
        return self.add("Concat", [*before, element, *after], axis=0)

    def replace_input(self, node: NodeProto, index: int, name: str) -> None:
        """Replace an input of a node by the tensor `name`."""
        self._replaced.add(node.input[index])
        node.input[index] = name

    def replace_element(self, node: NodeProto, index: int, place: int, element: str) -> None:
        """Replace the element at `place` of a node's input, a vector."""
        self.replace_input(node, index, self.with_element(node.input[index], place, element))

    def finish(self) -> None:
        """Write all nodes to the graph, and remove constants that are no longer read."""
        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(self._nodes)
        unread = self._replaced - {name for node in self._nodes for name in reads(node)}
        unread -= {value.name for value in itertools.chain(graph.input, graph.output)}
        for index in reversed(range(len(graph.initializer))):
            if graph.initializer[index].name in unread:
                del graph.initializer[index]
        self._model.ir_version = max(self._model.ir_version, _LOWEST_IR_VERSION)

    def _pick(self, vector: str, indices: list[int]) -> str:
        value = self.fixed_value(vector)
        if value is not None:
            return self.constant(value[indices])
        return self.add("Gather", [vector, self.constant(indices)], axis=0)

    def _new_name(self, stem: str) -> str:
        candidates = (f"{PREFIX}{stem}_{count}" for count in itertools.count())
        name = next(name for name in candidates if name not in self._taken)
        self._taken.add(name)
        return name
