"""Adding nodes to a graph while its nodes are visited in order."""

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

_LOWEST_IR_VERSION = 4  # before it, every initializer must be an input too


class Editor(Growth):
    """What a rule may do: ask how tensors grow, add nodes before its own, and give it inputs.

    Equal constants and equal nodes are added once. Tensors go by their names.
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
        """Put a node of the graph, or a new one, after all that were put before."""
        self.visit(node)
        self._nodes.append(node)

    def constant(self, value: ArrayLike) -> str:
        """A constant; numbers become int64, arrays keep their type."""
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.int64)
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._known:
            tensor = numpy_helper.from_array(array, self._new_name("constant"))
            self._model.graph.initializer.append(tensor)
            self.add_constant(tensor)
            self._known[key] = tensor.name
        return self._known[key]

    def add(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """The output of a new node."""
        key = (op_type, *inputs, *attributes.items())
        if key not in self._known:
            name = self._new_name(op_type.lower())
            node = helper.make_node(op_type, inputs, [name], name=name, **attributes)
            self.keep(node)
            self._known[key] = name
        return self._known[key]

    def size(self, tensor: str, axis: int) -> str:
        """A vector of one element: a dimension of `tensor`."""
        return self.add("Gather", [self.add("Shape", [tensor]), self.constant([axis])], axis=0)

    def repeated(self, tensor: str, rank: int, axis: int) -> str:
        """A tensor of that rank laid after itself along `axis`, once for every sample."""
        ones = self.constant([1] * rank)
        repeats = self.with_element(ones, axis, self.size(self._picture, 0))
        return self.add("Tile", [tensor, repeats])

    def with_element(self, vector: str, index: int, element: str) -> str:
        """A copy of a vector that has another element, itself a vector, at `index`."""
        (length,) = self.one.shape(vector) or (0,)
        around = [list(range(index)), list(range(index + 1, length))]
        before, after = ([self._pick(vector, places)] if places else [] for places in around)
        return self.add("Concat", [*before, element, *after], axis=0)

    def replace_input(self, node: NodeProto, index: int, name: str) -> None:
        """Let a node read another tensor."""
        self._replaced.add(node.input[index])
        node.input[index] = name

    def replace_element(self, node: NodeProto, index: int, place: int, element: str) -> None:
        """Let a node read a vector with another element at `place`."""
        self.replace_input(node, index, self.with_element(node.input[index], place, element))

    def finish(self) -> None:
        """Put the added nodes in place, and drop the constants that nobody reads any longer."""
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
