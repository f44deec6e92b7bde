"""Which part of a model is computed in patches where windows of its input change."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto

from onnxplain.analysis.patches import cost
from onnxplain.analysis.patches.axes import SAME, AxisMap, Span
from onnxplain.analysis.patches.rules import Layout, Local, NodeFacts, local
from onnxplain.model.graph_index import reads
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape, ShapeEnv, model_shapes

TILE = 8
"""Windows that are run together; 16 take as long for each, and twice the memory."""

WHOLE = 0.6
"""The share of a map from which it is computed whole: results are alike from 0.4 to 0.8."""

Maps = tuple[AxisMap, AxisMap]
"""How a node's output depends on its input, along rows and along columns."""


class Region(NamedTuple):
    """The rows and columns that change for each window, on a map of `places`.

    The last window is the whole input.
    """

    rows: Span
    columns: Span
    places: tuple[int, int]

    @property
    def key(self) -> Hashable:
        """Regions with equal keys are the same."""
        return self.places, *(ends.tobytes() for span in (self.rows, self.columns) for ends in span)

    @property
    def whole(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The first row and column of the patch for the whole input, and its sizes."""
        (top, bottom), (left, right) = ((int(s.start[-1]), int(s.stop[-1])) for s in self[:2])
        return (top, left), (bottom - top, right - left)

    def through(self, maps: Maps, places: tuple[int, int]) -> Region:
        """The region of the output of a node whose input changes here."""
        spans = [
            _covering(axis.affected(span), size)
            for axis, span, size in zip(maps, self[:2], places, strict=True)
        ]
        return Region(spans[0], spans[1], places)

    def united(self, other: Region) -> Region:
        """The smallest region that contains both."""
        rows, columns = self.rows.united(other.rows), self.columns.united(other.columns)
        return Region(rows, columns, self.places)

    @property
    def share(self) -> float:
        """The share of the map that patches have, in the mean over tiles."""
        sides = []
        for span in (self.rows, self.columns):
            sizes = (span.stop - span.start)[:-1]
            sides.append(np.maximum.reduceat(sizes, np.arange(0, len(sizes), TILE)))
        return float(np.mean(sides[0] * sides[1])) / math.prod(self.places)


def _covering(span: Span, size: int) -> Span:
    """The same ranges; the last one covers the whole map, also where nothing changes."""
    start, stop = span.start.copy(), span.stop.copy()
    start[-1], stop[-1] = min(start[-1], 0), max(stop[-1], size)
    return Span(start, stop)


@dataclass(frozen=True, eq=False)
class Patch:
    """A tensor of which patches are known; `shape` is that of its whole map for one sample."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    layout: Layout
    region: Region

    @property
    def width(self) -> int:
        """Elements at each position."""
        return math.prod(self.shape) // math.prod(self.region.places)


@dataclass(frozen=True, eq=False)
class Fetch:
    """A region of a tensor, made of its cached map, of values outside it, and of its patches.

    Attributes:
        source: the tensor that is fetched.
        after: the nodes that are applied to what was fetched: it is smaller before them.
        fill: the value outside the map.
        maps: how the positions follow from those of `region`.
        region: the region that is wanted.
    """

    source: Patch
    after: Sequence[NodeProto]
    fill: float
    maps: Maps
    region: Region

    @property
    def key(self) -> Hashable:
        """Fetches with equal keys are the same tensor."""
        after = tuple(node.output[0] for node in self.after)
        return self.source.name, after, self.fill, self.maps, id(self.region)


@dataclass(frozen=True, eq=False)
class Step:
    """A node that is computed in patches.

    `fetched` has the inputs that are fetched, by name; the node reads the patches of the others.
    """

    node: NodeProto
    local: Local
    makes: Sequence[Patch]
    fetched: Mapping[str, Fetch]


@dataclass(frozen=True, eq=False)
class Plan:
    """The part of a model that is computed in patches.

    Attributes:
        picture: the input whose windows change.
        steps: the nodes that are computed in patches, by position in the graph.
        patches: the tensors of which patches are known, by name.
        whole: those of which whole maps are made, by name.
        predicted: the share of the time of plain runs.
    """

    picture: Patch
    steps: Mapping[int, Step]
    patches: Mapping[str, Patch]
    whole: Mapping[str, Fetch]
    predicted: float

    @property
    def fetches(self) -> list[Fetch]:
        """All fetches, each once, in the order of the graph."""
        steps = (fetch for step in self.steps.values() for fetch in step.fetched.values())
        return list({fetch.key: fetch for fetch in (*steps, *self.whole.values())}.values())


def plan(
    model: Model,
    picture: str,
    inputs: Mapping[str, Shape],
    windows: Mapping[int, Span],
    outputs: Sequence[str],
) -> Plan:
    """Choose what is computed in patches where `windows` of the input `picture` change.

    `inputs` are the shapes of all inputs for one sample. `windows` are given for the axes of rows
    and of columns.
    """
    return _Planner(model, picture, inputs, windows).plan(outputs)


class _Planner:
    def __init__(
        self,
        model: Model,
        picture: str,
        inputs: Mapping[str, Shape],
        windows: Mapping[int, Span],
    ) -> None:
        self._model = model
        self._shapes = model_shapes(model, inputs)
        self._env = ShapeEnv.of_inputs(model.proto, inputs)
        shape, (rows, columns) = inputs[picture], windows
        spans = [
            Span(np.append(span.start, 0), np.append(span.stop, shape[axis]))
            for axis, span in windows.items()
        ]
        layout = Layout(len(shape), rows, columns)
        region = Region(spans[0], spans[1], layout.places(shape))
        self._regions = {region.key: region}
        self._picture = Patch(picture, self._env.dtype(picture), shape, layout, region)
        self._patches = {picture: self._picture}
        self._steps: dict[int, Step] = {}
        self._made_by: dict[str, Step] = {}
        self._plain = self._patched = 0.0

    def plan(self, outputs: Sequence[str]) -> Plan:
        """See `plan`."""
        index = self._model.index
        wanted, changed, whole = index.ancestors(outputs), {self._picture.name}, []
        last = index.readers[self._picture.name][-1:]
        for position, node in enumerate(index.nodes):
            if [position] <= last:  # types and values are needed as far as patches are read
                self._env.visit(node)
            read = [name for name in dict.fromkeys(reads(node)) if name in changed]
            if position not in wanted or not read or node.op_type == "Shape":
                continue
            changed.update(name for name in node.output if name)
            step, own = self._step(node, read), cost.of_node(node, self._shapes)
            self._plain += own
            if step is None:
                whole += read
                self._patched += own
            else:
                self._steps[position] = step
                for patch in step.makes:
                    self._made_by[patch.name] = step
                    self._patches[patch.name] = patch
                    last = max(last, index.readers[patch.name][-1:])
                self._patched += cost.SMALLER * own * step.makes[0].region.share
        known = [name for name in dict.fromkeys([*whole, *outputs]) if name in self._patches]
        fetched = {name: self._whole(self._patches[name]) for name in known}
        found = Plan(self._picture, self._steps, self._patches, fetched, 1.0)
        spent = self._patched + sum(map(_fetching, found.fetches)) + _caching(found)
        return replace(found, predicted=spent / max(self._plain, 1.0))

    def _step(self, node: NodeProto, read: Sequence[str]) -> Step | None:
        """How a node is computed in patches; None if it needs whole maps."""
        if not set(read) <= self._patches.keys() & set(node.input):
            return None
        layouts = {name: self._patches[name].layout for name in read}
        facts = NodeFacts(node, self._env, self._shapes, layouts, self._model.opset)
        made = [name for name in node.output if name]
        used = [name for name in made if self._is_used(name)] or made[:1]
        how = local(facts)
        if how is None or (node.op_type != "Split" and used != made[:1]):
            return None
        if not all(name in self._shapes for name in used):
            return None
        region = self._region(read, how, facts)
        if region.share > WHOLE:
            return None
        makes = [
            Patch(name, self._env.dtype(name), self._shapes[name], how.layout, region)
            for name in used
        ]
        fetched = {}
        for name in read:
            own = self._patches[name]
            same = all(axis.is_same for axis in how.axes) and own.region is region
            if not same or own is self._picture:
                fetched[name] = self._fetch(own, how.fill or 0.0, how.axes, region)
        return Step(node, how, makes, fetched)

    def _region(self, read: Sequence[str], how: Local, facts: NodeFacts) -> Region:
        """The region that changes in the output."""
        places = how.layout.places(facts.result)
        first, *others = (self._patches[name].region.through(how.axes, places) for name in read)
        for other in others:
            first = first.united(other)
        return self._regions.setdefault(first.key, first)

    def _fetch(self, patch: Patch, fill: float, maps: Maps, region: Region) -> Fetch:
        """A fetch of `patch`: of integers where it holds dequantized ones, as they are smaller."""
        step = self._made_by.get(patch.name)
        if step is not None and step.node.op_type == "DequantizeLinear" and not step.fetched:
            node = step.node
            zero = self._env.value(node.input[2]) if node.input[2:] else None
            if zero is not None and zero.size == 1 and (not fill or math.isinf(fill)):
                fill = fill if math.isinf(fill) else int(zero.reshape(-1)[0])
                integers = self._patches[node.input[0]]
                return Fetch(integers, (node,), _held(fill, integers.dtype), maps, region)
        return Fetch(patch, (), _held(fill, patch.dtype), maps, region)

    def _whole(self, patch: Patch) -> Fetch:
        """A fetch of the whole map."""
        starts = np.zeros_like(patch.region.rows.start)
        spans = [Span(starts, starts + size) for size in patch.region.places]
        region = Region(spans[0], spans[1], patch.region.places)
        region = self._regions.setdefault(region.key, region)
        return self._fetch(patch, 0.0, (SAME, SAME), region)

    def _is_used(self, name: str) -> bool:
        return bool(self._model.index.readers.get(name)) or name in self._model.index.outputs


def _held(fill: float, dtype: np.dtype[Any]) -> float:
    """The value, or for minus infinity the least integer, where the dtype holds integers."""
    return int(np.iinfo(dtype).min) if math.isinf(fill) and dtype.kind in "iu" else fill


def _fetching(fetch: Fetch) -> float:
    """The time of a fetch for one window."""
    positions = 1.0
    for axis, span, size in zip(fetch.maps, fetch.region[:2], fetch.region.places, strict=True):
        mean = float((span.stop - span.start)[:-1].mean())
        positions *= axis.positions(np.zeros(1, np.int64), max(1, round(min(mean, size)))).size
    return cost.FETCHED * positions * fetch.source.width


def _caching(plan: Plan) -> float:
    """The time to copy the caches in each run of a tile, for one window."""
    sources = {fetch.source.name: fetch.source for fetch in plan.fetches}
    return cost.CACHED * sum(math.prod(one.shape) for one in sources.values()) / TILE
