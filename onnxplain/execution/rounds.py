"""A model and a sampled method as one graph: a Loop whose rounds run the model on changed samples.

A round runs the model once, on one sample of each picture: in round 0 on the picture itself, then
on the references, such as a baseline, and then on the changed samples. Each round also makes the
sample of the next one. What round 0 finds is kept, the sums over the changed samples grow from
round to round, and the map is computed from them after the Loop. The body of the Loop holds the
model with its weights. Where a method changes a layer, it only holds the part after the layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from onnxplain.errors import LayerError, OptionError
from onnxplain.execution.baselines import BaselineSpec, Scene
from onnxplain.execution.finished import Plan, Tensors, Wanting, value_name
from onnxplain.execution.one_round import (
    FIRST,
    asked_name,
    last_name,
    one_round,
    shown_activation,
)
from onnxplain.execution.points import Blend, Given, LayerMasks
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.scoring import BATCH, parameter
from onnxplain.execution.wants import FirstGradient, InputGradient, LayerGradient, SampleScores
from onnxplain.execution.wants import SampleWeights as Weights
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.formulas.namespace import Namespace
from onnxplain.model.constants import quantization
from onnxplain.model.model import Model
from onnxplain.model.shapes import infer_specs
from onnxplain.tensors import TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.loop_body import Nodes, divided
from onnxplain.transforms.masks import blended
from onnxplain.transforms.regions import Regions

_LEAST_IR = 8
"""The first version of the file format that has opset 18."""

_ROUND = PREFIX + "round"
_GOES_ON = PREFIX + "goes_on"
_SAMPLE = PREFIX + "sample"
_MASK = PREFIX + "mask"


class SampledFormula(Wanting, Protocol):
    """A sampled method; see `methods.base.SampledMethod`."""

    name: str
    changes_layer: bool

    @property
    def repeats(self) -> bool:
        """Whether targets may be repeated with a finer method."""

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """How the changed samples are made."""

    def terms(self, xp: Namespace, original: Original, *found: Any) -> Mapping[str, Any]:
        """What a round adds to each sum."""

    def map(self, xp: Namespace, original: Original, sums: Mapping[str, Any]) -> Any:
        """The map from the sums."""


def settled_name(name: str) -> str:
    """The name of the output with a parameter of the target that the answer decides: the class."""
    return f"{PREFIX}settled/{name}"


def in_rounds(plan: Plan, scene: Scene) -> Model:
    """The graph of a plan whose formula is a sampled method, for one target of each picture.

    Its outputs are the answer tensor, the other tensors that the plan names, the map, and the
    settled parameters of the target, see `settled_name`. `scene` describes samples like those that
    the graph takes; its values are not used.

    Raises:
        OptionError: the method may repeat a target, so that the number of rounds is not known; or
            an option does not fit the sample.
        LayerError: the method reads several layers.
        GradientError: an operator that must be differentiated has no gradient.
        TargetError: the answer holds no scores of the kind that is read.
    """
    formula = cast(SampledFormula, plan.formula)
    if formula.repeats:
        raise OptionError(
            f"{formula.name} with a tolerance takes more steps where they are needed, and a graph "
            "has a fixed number of them: give the steps, without a tolerance."
        )
    if len(plan.layers) > 1:
        raise LayerError(
            f"A graph of {formula.name} holds the map of one layer, and {len(plan.layers)} were "
            "chosen: name one layer."
        )
    return _Rounds(plan, scene, formula).model()


@dataclass(frozen=True, eq=False)
class _SceneOfGraph(Scene):
    """A scene whose baselines are computed before the Loop."""

    before: Regions = field(kw_only=True)

    def baseline(self, spec: BaselineSpec, seed: int = 0) -> Any:
        """See `Scene`."""
        with self.before.inside(self.before.outermost):
            return super().baseline(spec, seed)


@dataclass(frozen=True, eq=False)
class _State:
    """A tensor that goes from round to round.

    `outer` is its name after the Loop, `initial` the tensor that it is before round 0, `entering`
    its name in the body and `leaving` the tensor that it becomes.
    """

    outer: str
    initial: gs.Tensor
    leaving: gs.Tensor
    kind: int
    entering: str = ""

    @property
    def carried(self) -> str:
        """The name in the body before the round changes it."""
        return self.entering or f"{PREFIX}carried/{self.outer}"


@dataclass(frozen=True, eq=False)
class _Segment:
    """Some rounds in a row: `make(i)` adds the nodes for the i-th of them."""

    count: Any
    make: Callable[[GraphArray], Sequence[GraphArray]]


class _Rounds:
    """Writes the graph of one plan."""

    def __init__(self, plan: Plan, scene: Scene, formula: SampledFormula) -> None:
        self.plan, self.formula = plan, formula
        self.round = one_round(plan)
        self.g = Regions(self.round.model.opset, PREFIX + "rounds/")
        self.xp = GraphNamespace(self.g, plan.scored.ranks)
        self.specs = infer_specs(self.round.model.proto)
        self.first_pass, self.passes = self.g.region(), self.g.region()
        self.states: list[_State] = []
        x = self._as_samples(plan.spec.name, scene.shape)
        own = {name: getattr(scene, name) for name in ("channels", "spatial", "colors")}
        self.scene = _SceneOfGraph(x=x, **own, xp=self.xp, before=self.g)

    @functools.cached_property
    def source(self) -> TensorSpec:
        """The tensor of the model that is changed."""
        if self.formula.changes_layer:
            layer = self.plan.layers[0]
            return replace(self.specs[layer.tensor], shape=layer.shape)
        (spec,) = (one for one in self.round.model.inputs if one.name == self.plan.spec.name)
        return replace(spec, shape=self.plan.shape)

    @functools.cached_property
    def number(self) -> GraphArray:
        """The number of the round, from 0, int64 ()."""
        return self.xp.array(self.g.tensor(_ROUND), ())

    def model(self) -> Model:
        """The whole graph."""
        before, inside = self._divided()
        before_loop = self.g.outermost
        samplings: Sequence[Sampling] | None = None
        if not self._in_body:
            samplings = self.formula.sampling(self._original(at=self._outer))
        with self.g.inside(self.first_pass):
            self._enter()
        with self.g.inside(self.passes):
            goes_on, rounds, sums = self._body(samplings)
        body = self._graph_of_body(inside, goes_on)
        limit = self.g.Identity(rounds)
        true = self.g.Identity(np.array(True))
        start = [state.initial.name for state in self.states]
        loop = helper.make_node(
            "Loop",
            [limit.name, true.name, *start],
            [state.outer for state in self.states],
            PREFIX + "rounds",
            body=body,
        )
        after = self.g.region()
        with self.g.inside(after):
            self._map(sums)
        return self._joined(before, [_exported(before_loop), GraphProto(node=[loop])], after)

    @property
    def _parameters_now(self) -> list[str]:
        """The parameters of the target of changed samples."""
        scored = self.round.scored
        return list(scored.target(0).given(*scored.shapes))

    @property
    def _in_body(self) -> bool:
        """Whether samples are made from an activation that only round 0 computes."""
        return self.round.shown is not None and not self.formula.changes_layer

    # --- before the Loop ---------------------------------------------------------------------

    def _divided(self) -> tuple[Nodes, Nodes]:
        """The nodes of the model before the Loop and in its body."""
        plan = self.plan
        sources = [self.source.name, *self.round.sources]
        computed = [name for name, _ in self.round.found.values()]
        if self._in_body and self.round.shown is not None:
            computed.append(self.round.shown[0])
        wanted = [
            plan.answer,
            *plan.outputs,
            *computed,
            *(parameter(0, k) for k in self.round.kept),
        ]
        if self.formula.changes_layer:
            wanted.append(self.source.name)
        self.kept = [
            name
            for name in dict.fromkeys([plan.answer, *plan.outputs])
            if name in self.round.model.index.dependent(sources)
        ]
        self.names = {
            self.source.name: f"{PREFIX}changed/{self.source.name}",
            **{name: f"{PREFIX}of_round/{name}" for name in self.kept},
            **{asked_name(k): parameter(0, k) for k in self.round.asked},
            **{parameter(0, k): f"{PREFIX}of_round/{k}" for k in self._parameters_now},
        }
        return divided(self.round.model, sources, wanted, self.names)

    def _as_samples(self, name: str, shape: Sequence[int]) -> GraphArray:
        """A tensor of one sample of each picture as float32, (N, 1, ...)."""
        real = self.g.Cast(self.g.tensor(name), to=TensorProto.FLOAT)
        return self.xp.array(self.g.Unsqueeze(real, np.array([1])), (None, 1, *shape[1:]))

    def _outer_activation(self) -> GraphArray | None:
        """The activation of the layer that is changed, (N, channels, cells)."""
        if not self.formula.changes_layer:
            return None
        return shown_activation(Tensors(self.plan, self.xp))

    def _original(
        self, score: Any = None, absent: Any = None, at: GraphArray | None = None
    ) -> Original:
        layers = self.plan.layers
        return Original(self.scene, score, absent, (layers[0], at) if layers else None)

    # --- in the body -------------------------------------------------------------------------

    def _enter(self) -> None:
        """Give the sample of this round to the model, with its known sizes."""
        shape = self.source.shape
        assert shape is not None, "the shape of samples is known"
        sizes = np.array([-1, *shape[1:]], np.int64)
        sample = self.g.tensor(self.names[self.source.name])
        given = self.g.tensor(_SAMPLE)
        first = self.g.Equal(self.number.tensor, np.array(0))
        self.g.graph.nodes.append(gs.Node("Identity", FIRST, {}, [first], [self.g.tensor(FIRST)]))
        self.g.graph.nodes.append(
            gs.Node("Reshape", _SAMPLE + "/sized", {}, [given, self.g.constant(sizes)], [sample])
        )

    def _body(
        self, samplings: Sequence[Sampling] | None
    ) -> tuple[gs.Tensor, Any, dict[str, GraphArray]]:
        """Write the nodes after the model: whether rounds follow, their number, and the sums."""
        g, xp = self.g, self.xp
        original = self._kept()
        if samplings is None:
            samplings = self.formula.sampling(original)
        references = [one.references for one in samplings if one.references]
        if SampleScores() not in self.formula.wants:
            references = []  # only their scores are read
        before = 1 + sum(one.count for one in references)
        place = self._less(self.number, before)
        original = replace(original, absent=self._absent(before))
        terms = self.formula.terms(xp, original, *self._found(samplings, place))
        sums = {name: self._sum(name, term, before) for name, term in terms.items()}
        segments = [
            *(_Segment(one.count, functools.partial(self._reference, one)) for one in references),
            *(_Segment(one.made.count, functools.partial(self._changed, one)) for one in samplings),
        ]
        self._next(segments)
        changed: Any = sum((one.made.count for one in samplings[1:]), samplings[0].made.count)
        goes_on = g.Identity(self.g.tensor(_GOES_ON))
        if not isinstance(changed, GraphArray):
            return goes_on, np.array(before + changed, np.int64), sums
        if not self._in_body:
            with g.inside(g.outermost):
                return goes_on, g.Add(changed.tensor, np.array(before)), sums
        total = g.Add(changed.tensor, np.array(before))
        most = before + self.plan.layers[0].channels
        more = g.Less(g.Add(self.number.tensor, np.array(1)), total)
        return more, np.array(most, np.int64), sums

    def _kept(self) -> Original:
        """Keep what round 0 finds: answers, score and activation; and the settled parameters."""
        found = self.round.found
        for k, value in self.round.kept.items():
            nothing = self._nothing(value.dtype.type)
            settled = self._inner(parameter(0, k))
            kind = int(helper.np_dtype_to_tensor_dtype(value.dtype))
            self._carry(settled_name(k), nothing, settled, kind, last_name(k))
        new = {name: self._inner(name) for name in self.kept}
        score, shown = found.get(SampleScores), self.round.shown if self._in_body else None
        new |= {PREFIX + "kept/" + one[0]: self.g.tensor(one[0]) for one in (score, shown) if one}
        now = dict(zip(new, self._of_first(new), strict=True))
        for name, tensor in now.items():
            dtype = self.specs[name].dtype if name in self.kept else np.dtype(np.float32)
            kind = int(helper.np_dtype_to_tensor_dtype(dtype))
            self._carry(name, self._nothing(dtype.type), tensor, kind)
        arrays = {
            one[0]: self.xp.array(now[PREFIX + "kept/" + one[0]], one[1])
            for one in (score, shown)
            if one
        }
        at = arrays[shown[0]] if shown else self._outer
        return self._original(arrays[score[0]] if score else None, at=at)

    @functools.cached_property
    def _outer(self) -> GraphArray | None:
        with self.g.inside(self.g.outermost):
            return self._outer_activation()

    def _of_first(self, new: Mapping[str, gs.Tensor]) -> list[gs.Tensor]:
        """The values of round 0, in each round."""
        carried = [self.g.tensor(f"{PREFIX}carried/{name}") for name in new]
        return self.g.either(self.g.tensor(FIRST), lambda: list(new.values()), lambda: carried)

    def _absent(self, before: int) -> GraphArray | None:
        """The mean score of the references so far, (N, 1, 1)."""
        if before == 1:
            return None
        name = PREFIX + "absent"
        score, dims = self.round.found[SampleScores]
        g, number = self.g, self.number.tensor
        is_one = g.And(g.Greater(number, np.array(0)), g.Less(number, np.array(before)))
        share = g.Div(g.Where(is_one, self.g.tensor(score), np.float32(0)), np.float32(before - 1))
        total = g.Add(self.g.tensor(f"{PREFIX}carried/{name}"), share)
        self._carry(name, self._nothing(np.float32), total, TensorProto.FLOAT)
        return self.xp.array(total, dims)

    def _found(self, samplings: Sequence[Sampling], place: GraphArray) -> list[GraphArray]:
        """The arguments of the formula for the sample of this round."""
        made: dict[Any, Callable[[], GraphArray]] = {
            Weights: lambda: self._weights(samplings, place),
            FirstGradient: lambda: self._first_gradient(place),
        }
        found = self.round.found
        return [
            made[type(want)]()
            if type(want) in made
            else self.xp.array(self.g.tensor(found[type(want)][0]), found[type(want)][1])
            for want in self.formula.wants
        ]

    def _weights(self, samplings: Sequence[Sampling], place: GraphArray) -> GraphArray:
        """The weight of the sample of this round; by default its mask, (1 or N, 1, places)."""
        given = [one.weights for one in samplings if one.weights is not None]
        if not given:
            places = int(np.prod(self.scene.places))
            return self.xp.array(self.g.tensor(_MASK), (None, 1, places))
        dims: list[tuple[int | None, ...]] = []

        def weights(own: Callable[[Any], Any], part: GraphArray) -> list[GraphArray]:
            made = own(part)
            dims.append(made.dims)
            return [made]

        segments = [
            _Segment(one.made.count, functools.partial(weights, own))
            for one, own in zip(samplings, given, strict=True)
        ]
        (tensor,) = self._picked(segments, place)
        return self.xp.array(tensor, dims[0])

    def _first_gradient(self, place: GraphArray) -> GraphArray:
        """The gradient of the first changed sample, (N, 1, ...)."""
        want = InputGradient if InputGradient in self.round.found else LayerGradient
        own, dims = self.round.found[want]
        name, g = PREFIX + "first", self.g
        carried = self.g.tensor(f"{PREFIX}carried/{name}")
        is_first = g.LessOrEqual(place.tensor, np.array(0))
        (now,) = g.either(is_first, lambda: [self.g.tensor(own)], lambda: [carried])
        self._carry(name, self._nothing(np.float32), now, TensorProto.FLOAT)
        return self.xp.array(now, dims)

    def _sum(self, name: str, term: GraphArray, before: int) -> GraphArray:
        """Add a term to its sum, in float64, from the first changed sample on."""
        g, outer = self.g, f"{PREFIX}sum/{name}"
        counts = g.GreaterOrEqual(self.number.tensor, np.array(before))
        own = g.Cast(g.Where(counts, term.tensor, np.float32(0)), to=TensorProto.DOUBLE)
        total = g.Add(self.g.tensor(f"{PREFIX}carried/{outer}"), own)
        self._carry(outer, self._nothing(np.float64), total, TensorProto.DOUBLE)
        return self.xp.array(self.g.tensor(outer), term.dims)

    # --- samples -----------------------------------------------------------------------------

    def _next(self, segments: Sequence[_Segment]) -> None:
        """Make the sample of the next round, and its mask if the formula reads masks."""
        sample, *masks = self._picked(segments, self.number)
        start = self.g.tensor(self.source.name)
        self._carry(PREFIX + "last", start, sample, _kind(self.source), _SAMPLE)
        for mask in masks:
            nothing = self._nothing(np.float32, (1, 1, 1))
            self._carry(PREFIX + "last_mask", nothing, mask, TensorProto.FLOAT, _MASK)

    def _picked(self, segments: Sequence[_Segment], place: GraphArray) -> list[gs.Tensor]:
        """What the segment makes in which a place is; places beyond the ends are the outermost."""
        (one, *rest), g = segments, self.g
        last = one.count - 1 if isinstance(one.count, int) else None
        end = np.array(last) if last is not None else g.Sub(one.count.tensor, np.array(1))
        inside = g.Max(g.Min(place.tensor, end), np.array(0))
        part = self.xp.array(g.Unsqueeze(inside, np.array([0])), (1,))

        def own() -> list[gs.Tensor]:
            return [array.tensor for array in one.make(part)]

        if not rest:
            return own()
        later = self._less(place, one.count)
        return g.either(
            g.Less(place.tensor, np.array(one.count)), own, lambda: self._picked(rest, later)
        )

    def _less(self, place: GraphArray, count: int) -> GraphArray:
        return self.xp.array(self.g.Sub(place.tensor, np.array(count)), ())

    def _reference(self, given: Given, part: GraphArray) -> list[GraphArray]:
        """A reference in the shape of the samples, and a mask without a meaning."""
        g = self.g
        start = self.g.tensor(self.source.name)
        full = g.Expand(self._sample(given.make(part)), g.Shape(start))
        sample = self.xp.array(g.Cast(full, to=self.source.dtype.type), ())
        return [sample, *([self._no_mask] if self._reads_masks else [])]

    def _changed(self, sampling: Sampling, part: GraphArray) -> list[GraphArray]:
        """A changed sample, and its mask if the formula reads masks."""
        made, shape, g = sampling.made, self.source.shape, self.g
        dtype = self.source.dtype
        if isinstance(made, Given):
            point = g.Cast(self._sample(made.make(part)), to=dtype.type)
            return [self.xp.array(point, ())]
        assert shape is not None, "the shape of samples is known"
        sizes = cast(tuple[int, ...], shape)
        weight = made.mask.build(_Fed(g, made.feeds.make(part)), sizes)
        x = g.Cast(self.g.tensor(self.source.name), to=TensorProto.FLOAT)
        sample = blended(g, weight, x, self._nothing_of(made), dtype)
        masks = []
        if self._reads_masks:
            places = int(np.prod(self.scene.places))
            masks.append(self.xp.array(g.Reshape(weight, np.array([-1, 1, places])), ()))
        return [self.xp.array(sample, ()), *masks]

    @property
    def _reads_masks(self) -> bool:
        """Whether the formula reads the masks of samples of the input."""
        return Weights() in self.formula.wants and not self._has_weights

    @functools.cached_property
    def _has_weights(self) -> bool:
        return bool(self.plan.layers) or InputGradient in self.round.found

    @property
    def _no_mask(self) -> GraphArray:
        return self.xp.array(self.g.Identity(np.zeros((1, 1, 1), np.float32)), ())

    def _nothing_of(self, made: Blend | LayerMasks) -> gs.Tensor:
        """What is put in place of the masked values."""
        if isinstance(made, Blend):
            return self._sample(made.baseline)
        quantized = quantization(self.plan.model, made.layer.tensor)
        return self.g.constant(np.float32(0 if quantized is None else quantized.zero))

    def _sample(self, array: GraphArray) -> gs.Tensor:
        """A sample (1, ...), or (N, 1, ...), as (1 or N, ...)."""
        rank = len(self.source.shape or ())
        if array.ndim == rank:
            return array.tensor
        return self.g.Squeeze(array.tensor, np.array([1]))

    # --- states ------------------------------------------------------------------------------

    def _carry(
        self, outer: str, initial: gs.Tensor, leaving: gs.Tensor, kind: int, entering: str = ""
    ) -> None:
        with self.g.inside(self.passes):
            left = self.g.Identity(leaving)  # an output of the body must not be one of its inputs
        self.states.append(_State(outer, initial, left, kind, entering))

    def _nothing(self, dtype: Any, shape: Sequence[int] = ()) -> gs.Tensor:
        """A first value of a state that is never read."""
        with self.g.inside(self.g.outermost):
            return self.g.Cast(np.zeros(tuple(shape), np.float32), to=dtype)

    def _inner(self, name: str) -> gs.Tensor:
        return self.g.tensor(self.names.get(name, name))

    def _graph_of_body(self, inside: Nodes, goes_on: gs.Tensor) -> GraphProto:
        first, last = _exported(self.first_pass), _exported(self.passes)
        entering = [
            helper.make_tensor_value_info(_ROUND, TensorProto.INT64, ()),
            helper.make_tensor_value_info(_GOES_ON, TensorProto.BOOL, ()),
            *(helper.make_tensor_value_info(one.carried, one.kind, None) for one in self.states),
        ]
        leaving = [
            helper.make_tensor_value_info(goes_on.name, TensorProto.BOOL, ()),
            *(
                helper.make_tensor_value_info(one.leaving.name, one.kind, None)
                for one in self.states
            ),
        ]
        return GraphProto(
            name="round",
            node=[*first.node, *inside.nodes, *last.node],
            initializer=[*first.initializer, *inside.weights, *last.initializer],
            input=entering,
            output=leaving,
        )

    # --- after the Loop ----------------------------------------------------------------------

    def _map(self, sums: Mapping[str, GraphArray]) -> None:
        """The map, from the sums."""
        found, g = self.round.found, self.g
        score, shown = found.get(SampleScores), self.round.shown if self._in_body else None
        kept = [
            self.xp.array(self.g.tensor(PREFIX + "kept/" + one[0]), one[1]) if one else None
            for one in (score, shown)
        ]
        original = self._original(kept[0], at=kept[1] if shown else self._outer)
        narrow = {name: total.made("Cast", to=TensorProto.FLOAT) for name, total in sums.items()}
        values = self.formula.map(self.xp, original, narrow)
        name = value_name(0, 0)
        placed = [self._placed(values)]
        g.graph.nodes.append(gs.Node("Identity", name, {}, placed, [self.g.tensor(name)]))

    def _placed(self, values: GraphArray) -> gs.Tensor:
        """The map on the layer's grid, or in the shape of the input."""
        g, layers, shape = self.g, self.plan.layers, self.scene.shape
        # The number of pictures is read from the input, for shape inference.
        pictures = g.Shape(g.tensor(self.plan.spec.name), start=0, end=1)

        def shaped(*sizes: int) -> gs.Tensor:
            return g.Reshape(values.tensor, g.Concat(pictures, np.array(sizes), axis=0))

        if layers:
            return shaped(*layers[0].grid)
        if InputGradient in self.round.found:
            return shaped(*shape[1:])
        sizes = [n if i in self.scene.spatial else 1 for i, n in enumerate(shape)]
        return g.Expand(shaped(*sizes[1:]), np.array([1, *shape[1:]]))

    def _joined(self, before: Nodes, parts: Sequence[GraphProto], after: gs.Graph) -> Model:
        """The parts as one model, with its inputs and outputs."""
        source = self.round.model.proto
        last = _exported(after)
        whole = GraphProto(name=source.graph.name or "rounds")
        whole.node.extend(before.nodes)
        whole.initializer.extend(before.weights)
        whole.sparse_initializer.extend(source.graph.sparse_initializer)
        for part in (*parts, last):
            whole.node.extend(part.node)
            whole.initializer.extend(part.initializer)
        own = [one for one in source.graph.input if not one.name.startswith(PREFIX)]
        whole.input.extend([*own, *self._parameters()])
        whole.output.extend(self._outputs())
        proto = ModelProto()
        proto.CopyFrom(source)
        proto.graph.CopyFrom(whole)
        proto.ir_version = max(proto.ir_version, _LEAST_IR)
        return replace(self.round.model, proto=proto)

    def _parameters(self) -> list[ValueInfoProto]:
        scored, first = self.plan.scored, self.plan.batch or BATCH
        return [
            helper.make_tensor_value_info(
                parameter(0, name),
                helper.np_dtype_to_tensor_dtype(value.dtype),
                [first, *value.shape],
            )
            for name, value in scored.target(0).given(*scored.shapes).items()
        ]

    def _outputs(self) -> list[ValueInfoProto]:
        plan = self.plan
        names = dict.fromkeys([plan.answer, *plan.outputs])
        declared = [
            helper.make_tensor_value_info(name, _kind(self.specs[name]), self.specs[name].shape)
            for name in names
        ]
        shape = plan.layers[0].grid if plan.layers else self.scene.shape[1:]
        first = plan.batch or BATCH
        map_ = helper.make_tensor_value_info(value_name(0, 0), TensorProto.FLOAT, [first, *shape])
        return [
            *declared,
            map_,
            *(
                helper.make_tensor_value_info(
                    settled_name(k),
                    helper.np_dtype_to_tensor_dtype(value.dtype),
                    [first, *value.shape],
                )
                for k, value in self.round.kept.items()
            ),
        ]


class _Fed(Builder):
    """A builder whose inputs are arrays that are there already, for the nodes of a mask."""

    def __init__(self, g: Regions, arrays: Mapping[str, GraphArray]) -> None:
        self._builder, self._arrays = g, arrays

    def __getattr__(self, op: str) -> Any:
        return getattr(self._builder, op)

    def input(self, name: str, shape: Sequence[int | str], dtype: Any = np.float32) -> gs.Tensor:
        """The array of that name, with the axis of samples as first axis."""
        array = self._arrays[name]
        if array.ndim == len(shape):
            return array.tensor
        return self._builder.Squeeze(array.tensor, np.array([1]))


def _kind(spec: TensorSpec) -> int:
    return int(helper.np_dtype_to_tensor_dtype(spec.dtype))


def _exported(graph: gs.Graph) -> GraphProto:
    return gs.export_onnx(graph, do_type_check=False).graph
