"""A graph stage: the model, with a part of it computed in patches that are fetched from caches."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxplain.analysis.patches.plan import Fetch, Maps, Patch, Plan, Region, Step
from onnxplain.model.graph_index import reads
from onnxplain.model.model import Model
from onnxplain.tensors import Array
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import assembled, renamed

_PREFIX = PREFIX + "patch/"

KEEP = _PREFIX + "keep"
"""The input, (1,), that says how many rows of a tensor are kept: 0, or more than there are."""

BASELINE = _PREFIX + "baseline"
"""The input with the rows of the sample that windows are filled with."""


@dataclass(frozen=True, eq=False)
class Index:
    """What an index input holds: rows of a source, for each position of a region.

    Attributes:
        source: the tensor whose rows are fetched.
        is_picture: whether it is the input whose windows change.
        slot: the row that stands for positions outside the map.
        fills: the number of such rows, which come before the rows of the map.
        maps: how positions of the source follow from those of `region`.
    """

    source: Patch
    is_picture: bool
    slot: int
    fills: int
    maps: Maps
    region: Region

    @property
    def key(self) -> Hashable:
        """Equal for indices with the same values."""
        return (
            id(self.source.region),
            self.is_picture,
            self.slot,
            self.fills,
            self.maps,
            id(self.region),
        )


@dataclass(frozen=True, eq=False)
class Patched:
    """A graph that is computed in patches, without its weights.

    Attributes:
        picture: the input whose windows change.
        nodes, constants, outputs: of the graph.
        inputs: `KEEP`, `BASELINE`, the caches and the indices, in addition to the model's own.
        caches: the tensors that are fetched, by the name of the input with the rows of the whole
            map, (rows · columns, elements).
        indices: by the name of the input, (windows, rows, columns).
    """

    picture: Patch
    nodes: Sequence[NodeProto]
    constants: Sequence[TensorProto]
    inputs: Sequence[ValueInfoProto]
    outputs: Sequence[str]
    caches: Mapping[str, Patch]
    indices: Mapping[str, Index]

    @property
    def kept(self) -> dict[str, str]:
        """By the name of a cache, the output with the rows that can be fed as that cache."""
        sources = self.caches.items()
        return {name: kept_name(p.name) for name, p in sources if p is not self.picture}

    def of(self, model: Model) -> Model:
        """The graph with the weights of the model that it was written for."""
        own = [value for value in model.proto.graph.input if value.name != self.picture.name]
        proto = assembled(
            model.proto,
            self.nodes,
            self.constants,
            [*own, *self.inputs],
            [*self.outputs, *self.kept.values()],
        )
        return replace(model, proto=proto)


def cache_name(tensor: str) -> str:
    """The name of the input with the rows of a tensor's whole map."""
    return f"{_PREFIX}cache/{tensor}"


def kept_name(tensor: str) -> str:
    """The name of the output with the rows of a tensor's patches."""
    return f"{_PREFIX}kept/{tensor}"


def patched(model: Model, plan: Plan, outputs: Sequence[str]) -> Patched:
    """The graph of a model that computes `outputs`, with the part in `plan` computed in patches.

    A graph that is run for a patch as large as the whole input computes what is kept as caches.
    """
    return _Writer(model, plan).write(outputs)


@dataclass(eq=False)
class _Writer:
    model: Model
    plan: Plan
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    inputs: dict[str, ValueInfoProto] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._fills: dict[str, list[float]] = {}
        for fetch in self.plan.fetches:
            own = self._fills.setdefault(fetch.source.name, [])
            if fetch.fill not in own:
                own.append(fetch.fill)
        self._fetched: dict[Hashable, str] = {}
        self._sources: dict[str, str] = {}
        self._indices: dict[Hashable, str] = {}
        self._held: dict[str, Index] = {}
        self._whole: set[str] = set()

    def write(self, outputs: Sequence[str]) -> Patched:
        """See `patched`."""
        self._input(KEEP, np.dtype(np.int64), (1,))
        for position, node in enumerate(self.model.index.nodes):
            if position in self.plan.steps:
                self._step(self.plan.steps[position])
            elif node.op_type == "Shape" and self._is_open(node.input[0]):
                self._size(node, self.plan.patches[node.input[0]])
            else:
                for name in reads(node):
                    self._make_whole(name)
                self.nodes.append(node)
        for name in outputs:
            self._make_whole(name)
        caches = {cache_name(name): self.plan.patches[name] for name in self._sources}
        inputs = list(self.inputs.values())
        picture = self.plan.picture
        return Patched(picture, self.nodes, self.constants, inputs, outputs, caches, self._held)

    def _is_open(self, name: str) -> bool:
        """Whether only patches of a tensor are made."""
        return name in self.plan.patches and name not in self.plan.whole

    def _make_whole(self, name: str) -> None:
        if name in self.plan.whole and name not in self._whole:
            self._whole.add(name)
            self._add("Identity", [self._fetch(self.plan.whole[name])], name)

    def _step(self, step: Step) -> None:
        """The node of a step, for patches."""
        names = {patch.name: _PREFIX + patch.name for patch in step.makes}
        for name in step.node.input:
            if name in step.fetched:
                names[name] = self._fetch(step.fetched[name])
            elif name in self.plan.patches:
                names[name] = _PREFIX + name
        if step.local.is_copy:
            self._add("Identity", [names[step.node.input[0]]], names[step.makes[0].name])
            return
        node = renamed(step.node, names, _PREFIX)
        for name, value in step.local.attributes.items():
            kept = [attribute for attribute in node.attribute if attribute.name != name]
            del node.attribute[:]
            node.attribute.extend(kept)
            if value is not None:
                node.attribute.append(helper.make_attribute(name, value))
        if step.local.target is not None:
            data = self.plan.patches[step.node.input[0]]
            node = self._reshaping(node, data, step)
        self.nodes.append(node)

    def _reshaping(self, node: NodeProto, data: Patch, step: Step) -> NodeProto:
        """A Reshape whose rows and columns have the sizes of the patch."""
        (made,) = step.makes
        sizes = self._add("Shape", [node.input[0]], f"{_PREFIX}sizes/{made.name}")
        at = {0: 0, made.layout.rows: data.layout.rows, made.layout.columns: data.layout.columns}
        parts = [
            self._add("Gather", [sizes, self._constant(np.array([at[i]]))], f"{sizes}/{i}")
            if i in at
            else self._constant(np.array([size]))
            for i, size in enumerate(made.shape)
        ]
        target = self._add("Concat", parts, f"{sizes}/all", axis=0)
        return helper.make_node("Reshape", [node.input[0], target], node.output, node.name)

    def _size(self, node: NodeProto, patch: Patch) -> None:
        """A node that reads the size of a whole map."""
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        part = range(len(patch.shape))[given.get("start", 0) : given.get("end")]
        first = self._batch() if 0 in part else None
        rest = self._constant(np.array([patch.shape[i] for i in part if i], np.int64))
        self._add("Concat", [rest] if first is None else [first, rest], node.output[0], axis=0)

    def _batch(self) -> str:
        """The number of windows, (1,)."""
        name = f"{_PREFIX}windows"
        if all(name not in node.output for node in self.nodes):
            sizes = self._add("Shape", [next(iter(self._held))], f"{name}/sizes")
            self._add("Gather", [sizes, self._constant(np.array([0]))], name)
        return name

    def _fetch(self, fetch: Fetch) -> str:
        """The tensor that holds what is fetched."""
        if fetch.key in self._fetched:
            return self._fetched[fetch.key]
        source, name = fetch.source, f"{_PREFIX}fetched/{len(self._fetched)}"
        self._fetched[fetch.key] = name + "/after" * len(fetch.after)
        fills, order = self._fills[source.name], source.layout.order
        slot, is_picture = fills.index(fetch.fill), source is self.plan.picture
        index = Index(source, is_picture, slot, len(fills), fetch.maps, fetch.region)
        found = self._add("Gather", [self._rows(source), self._index(index)], f"{name}/rows")
        rest = [source.shape[axis] for axis in order[3:]]
        if len(rest) != 1:
            target = self._constant(np.array([0, 0, 0, *rest]))
            found = self._add("Reshape", [found, target], f"{name}/split")
        back = [order.index(axis) for axis in range(len(order))]
        if self._stays_blocked(fetch):
            found = self._add("Transpose", [found], f"{name}/moved", perm=back)
            self._add("MaxPool", [found], name, kernel_shape=[1, 1])
        else:
            self._add("Transpose", [found], name, perm=back)
        for node in fetch.after:
            made = self._fetched[fetch.key]
            self.nodes.append(renamed(node, {node.input[0]: name, node.output[0]: made}, made))
        return self._fetched[fetch.key]

    @staticmethod
    def _stays_blocked(fetch: Fetch) -> bool:
        """Whether a MaxPool of single positions is added, which changes nothing.

        ONNX Runtime keeps a fetched tensor in the blocks of channels that its convolutions use only
        if such an operator reads it. Else an Add of it is not joined with the convolution before,
        nor are those after it: in ResNet-50 this takes a tenth of the time.
        """
        source, planar = fetch.source, fetch.source.layout.order == (0, 2, 3, 1)
        moved = all(axis.is_same for axis in fetch.maps) and not fetch.after
        return planar and moved and source.dtype == np.float32

    def _rows(self, source: Patch) -> str:
        """Everything that can be fetched of a tensor: fills, its whole map, and its patches."""
        if source.name in self._sources:
            return self._sources[source.name]
        fills = np.array(self._fills[source.name]).astype(source.dtype)
        constant = self._constant(np.repeat(fills[:, None], source.width, 1))
        cache = self._input(cache_name(source.name), source.dtype, ("cached", source.width))
        if source is self.plan.picture:
            rows = self._input(BASELINE, source.dtype, ("rows", source.width))
        else:
            rows = self._flat(source)
        name = f"{_PREFIX}rows/{source.name}"
        self._sources[source.name] = self._add("Concat", [constant, cache, rows], name, axis=0)
        return name

    def _flat(self, source: Patch) -> str:
        """The rows of a tensor's patches, (windows · rows · columns, elements)."""
        name = f"{_PREFIX}flat/{source.name}"
        order = list(source.layout.order)
        moved = self._add("Transpose", [_PREFIX + source.name], f"{name}/moved", perm=order)
        target = self._constant(np.array([-1, source.width]))
        rows = self._add("Reshape", [moved, target], name)
        zero = self._constant(np.zeros(1, np.int64))
        self._add("Slice", [rows, zero, KEEP, zero], kept_name(source.name))
        return rows

    def _index(self, index: Index) -> str:
        if index.key not in self._indices:
            name = f"{_PREFIX}index/{len(self._indices)}"
            sizes = ("windows", f"{name}/rows", f"{name}/columns")
            self._indices[index.key] = self._input(name, np.dtype(np.int32), sizes)
            self._held[name] = index
        return self._indices[index.key]

    def _input(self, name: str, dtype: np.dtype[Any], shape: Sequence[int | str]) -> str:
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        self.inputs[name] = helper.make_tensor_value_info(name, kind, list(shape))
        return name

    def _constant(self, value: Array) -> str:
        name = f"{_PREFIX}constant/{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output
