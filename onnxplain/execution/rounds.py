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
from math import prod
from typing import Any, Protocol, cast

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from onnxplain.errors import LayerError, OptionError
from onnxplain.execution.baselines import BaselineSpec, Scene
from onnxplain.execution.one_round import (
    FIRST,
    asked_name,
    last_name,
    one_round,
    shown_activation,
)
from onnxplain.execution.plan import Plan, Wanting, value_name
from onnxplain.execution.round_samples import Changed, RoundSamples
from onnxplain.execution.round_states import States
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.scoring import BATCH, parameter
from onnxplain.execution.wanted_tensors import Tensors
from onnxplain.execution.wants import (
    FirstGradient,
    InputGradient,
    SampleIndices,
    SampleScores,
    Want,
)
from onnxplain.execution.wants import SampleWeights as Weights
from onnxplain.formulas.graph_namespace import Dims, GraphArray, GraphNamespace
from onnxplain.formulas.namespace import Namespace
from onnxplain.model.model import Model
from onnxplain.model.shapes import infer_specs
from onnxplain.tensors import Array
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import fields
from onnxplain.transforms.loop_body import Nodes, divided
from onnxplain.transforms.regions import Regions

_LEAST_IR = 8
"""The first version of the file format that has opset 18."""

_ROUND = PREFIX + "round"
_GOES_ON = PREFIX + "goes_on"
_SAMPLE = PREFIX + "sample"
_MASK = PREFIX + "mask"
_KEPT = PREFIX + "kept/"


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


class _Rounds:
    """Writes the graph of one plan."""

    def __init__(self, plan: Plan, scene: Scene, formula: SampledFormula) -> None:
        self.plan, self.formula = plan, formula
        self.round = one_round(plan, bool(plan.layers) and not formula.changes_layer)
        self.specs = infer_specs(self.round.model.proto)
        self.g = Regions(self.round.model.opset, PREFIX + "rounds/")
        self.xp = GraphNamespace(self.g, plan.scored.ranks)
        self.entrance, self.passes, self.after = (self.g.region() for _ in range(3))
        self.states = States(self.g, self.passes)
        x = self.g.Cast(self.g.tensor(plan.spec.name), to=TensorProto.FLOAT)
        one = self.g.Unsqueeze(x, np.array([1]))
        self.scene = _SceneOfGraph(
            x=self.xp.array(one, (None, 1, *scene.shape[1:])),
            channels=scene.channels,
            spatial=scene.spatial,
            colors=scene.colors,
            xp=self.xp,
            before=self.g,
        )

    def model(self) -> Model:
        """The whole graph."""
        before, inside = self._divided()
        samplings = None if self.round.shown else self.formula.sampling(self._original())
        with self.g.inside(self.entrance):
            self._enter()
        with self.g.inside(self.passes):
            goes_on, rounds, sums = self._passes(samplings)
        limit, true = self.g.Identity(rounds), self.g.Identity(np.array(True))
        loop = helper.make_node(
            "Loop",
            [limit.name, true.name, *self.states.initial],
            self.states.outer,
            PREFIX + "rounds",
            body=self._graph_of_body(inside, goes_on),
        )
        with self.g.inside(self.after):
            self._map(sums)
        parts = [_exported(self.g.outermost), GraphProto(node=[loop]), _exported(self.after)]
        return self._joined(before, parts)

    # --- before the Loop ---------------------------------------------------------------------

    @functools.cached_property
    def source(self) -> Changed:
        """The tensor of the model that is changed."""
        plan, name, shape = self.plan, self.plan.spec.name, self.plan.shape
        if self.formula.changes_layer:
            name, shape = plan.layers[0].tensor, plan.layers[0].shape
        masks = Weights() in self.formula.wants and not self._has_weights
        places = prod(self.scene.places) if masks else None
        return Changed(plan.model, name, self.specs[name].dtype, shape, places)

    @property
    def _has_weights(self) -> bool:
        """Whether changed samples have weights of their own, and not those of their masks."""
        return bool(self.plan.layers) or InputGradient in self.round.found

    def _divided(self) -> tuple[Nodes, Nodes]:
        """The nodes of the model before the Loop and in its body."""
        plan, round_ = self.plan, self.round
        sources = [self.source.name, *round_.sources]
        answers = dict.fromkeys([plan.answer, *plan.outputs])
        found = [name for name, _ in round_.found.values()]
        shown = [round_.shown[0]] if round_.shown else []
        kept = [parameter(0, name) for name in round_.kept]
        layer = [self.source.name] if self.formula.changes_layer else []
        varying = round_.model.index.dependent(sources)
        self.answers = [name for name in answers if name in varying]
        settled = round_.scored.target(0).given(*round_.scored.shapes)
        self.names = {
            self.source.name: PREFIX + "changed",
            **{name: f"{PREFIX}of_round/{name}" for name in self.answers},
            **{asked_name(name): parameter(0, name) for name in round_.asked},
            **{parameter(0, name): f"{PREFIX}of_round/{name}" for name in settled},
        }
        wanted = [*answers, *found, *shown, *kept, *layer]
        return divided(round_.model, sources, wanted, self.names)

    @functools.cached_property
    def _outer(self) -> GraphArray | None:
        """The activation of the layer that is changed, (N, channels, cells)."""
        if not self.formula.changes_layer:
            return None
        with self.g.inside(self.g.outermost):
            return shown_activation(Tensors(self.plan, self.xp))

    def _original(
        self, score: Any = None, absent: Any = None, shown: GraphArray | None = None
    ) -> Original:
        """What is known of the pictures themselves."""
        activation = self._outer if shown is None else shown
        at = [(layer, activation) for layer in self.plan.layers]
        return Original(self.scene, score, absent, at[0] if at else None)

    # --- in the body -------------------------------------------------------------------------

    def _enter(self) -> None:
        """Give the sample of this round to the model, with its known sizes."""
        sizes = self.g.constant(np.array([-1, *self.source.shape[1:]], np.int64))
        first = self.g.Equal(self.number, np.array(0))
        self._name(first, FIRST)
        self._name(self.g.Reshape(self.g.tensor(_SAMPLE), sizes), self.names[self.source.name])

    @property
    def number(self) -> gs.Tensor:
        """The number of the round, from 0, int64 ()."""
        return self.g.tensor(_ROUND)

    def _passes(
        self, samplings: Sequence[Sampling] | None
    ) -> tuple[gs.Tensor, Any, dict[str, GraphArray]]:
        """Write the nodes after the model: whether rounds follow, their number, and the sums."""
        original = self._kept()
        some = self.formula.sampling(original) if samplings is None else samplings
        # Only the scores of references are read.
        scores = SampleScores() in self.formula.wants
        references = [one.references for one in some if one.references and scores]
        before = 1 + sum(one.count for one in references)
        samples = RoundSamples(self.g, self.xp, self.source)
        place = self.g.Sub(self.number, np.array(before))
        original = replace(original, absent=self._absent(before))
        terms = self.formula.terms(self.xp, original, *self._found(samples, some, place))
        sums = {name: self._sum(name, term, before) for name, term in terms.items()}
        # This round's number is the place of the next one among references and changed samples.
        sample, *masks = samples.made(references, some, self.number)
        start = self.g.tensor(self.source.name)
        self.states.carry(PREFIX + "last", sample, self.source.dtype, start, _SAMPLE)
        for mask in masks:
            none = self.states.nothing(np.float32, (1, 1, 1))
            self.states.carry(PREFIX + "last_mask", mask, np.float32, none, _MASK)
        goes_on, rounds = self._counted(before, some)
        return goes_on, rounds, sums

    def _counted(self, before: int, samplings: Sequence[Sampling]) -> tuple[gs.Tensor, Any]:
        """Whether rounds follow, and the largest number of rounds."""
        g, goes_on = self.g, self.g.Identity(self.g.tensor(_GOES_ON))
        counts: list[Any] = [one.made.count for one in samplings]
        if all(isinstance(count, int) for count in counts):
            return goes_on, np.array(before + sum(counts), np.int64)
        (count,) = counts
        if self.formula.changes_layer:
            with g.inside(g.outermost):
                return goes_on, g.Add(count.tensor, np.array(before))
        more = g.Less(g.Add(self.number, np.array(1)), g.Add(count.tensor, np.array(before)))
        return more, np.array(before + self.plan.layers[0].channels, np.int64)

    def _kept(self) -> Original:
        """Keep what the first round finds: parameters, answers, scores, the activation."""
        for name, value in self.round.kept.items():
            now = self.g.tensor(self.names[parameter(0, name)])
            self.states.carry(settled_name(name), now, value.dtype, entering=last_name(name))
        new = {name: self.g.tensor(self.names[name]) for name in self.answers}
        dtypes = {name: self.specs[name].dtype for name in new}
        for name, _ in filter(None, self._of_pictures):
            new[_KEPT + name] = self.g.tensor(name)
            dtypes[_KEPT + name] = np.dtype(np.float32)
        return self._known(self.states.kept(self.g.tensor(FIRST), new, dtypes))

    @property
    def _of_pictures(self) -> tuple[tuple[str, Dims] | None, tuple[str, Dims] | None]:
        """The tensors of the pictures themselves that formulas read: scores, and the activation."""
        return self.round.found.get(SampleScores), self.round.shown

    def _known(self, kept: Mapping[str, gs.Tensor]) -> Original:
        """What is known of the pictures themselves, from tensors by their names after the Loop."""
        score, shown = (
            None if one is None else self.xp.array(kept[_KEPT + one[0]], one[1])
            for one in self._of_pictures
        )
        return self._original(score, shown=shown)

    def _absent(self, before: int) -> GraphArray | None:
        """The mean score of the references so far, (N, 1, 1)."""
        if before == 1:
            return None
        (score, dims), g, outer = self.round.found[SampleScores], self.g, PREFIX + "absent"
        reads = g.And(g.Greater(self.number, np.array(0)), g.Less(self.number, np.array(before)))
        share = g.Div(g.Where(reads, g.tensor(score), np.float32(0)), np.float32(before - 1))
        total = g.Add(self.states.carried(outer), share)
        self.states.carry(outer, total, np.float32)
        return self.xp.array(total, dims)

    def _found(
        self, samples: RoundSamples, samplings: Sequence[Sampling], place: gs.Tensor
    ) -> list[GraphArray]:
        """The arguments of the formula for the sample of this round."""
        made: dict[type[Want], Callable[[], GraphArray]] = {
            Weights: lambda: self._weights(samples, samplings, place),
            SampleIndices: lambda: self.xp.array(self.g.Unsqueeze(place, np.array([0])), (1,)),
            FirstGradient: lambda: self._first_gradient(place),
        }
        for kind, (name, dims) in self.round.found.items():
            made[kind] = functools.partial(self.xp.array, self.g.tensor(name), dims)
        return [made[type(want)]() for want in self.formula.wants]

    def _weights(
        self, samples: RoundSamples, samplings: Sequence[Sampling], place: gs.Tensor
    ) -> GraphArray:
        """The weight of the sample of this round; by default its mask, (1 or N, 1, places)."""
        if self._has_weights:
            return samples.weights(samplings, place)
        return self.xp.array(self.g.tensor(_MASK), (None, 1, self.source.places))

    def _first_gradient(self, place: gs.Tensor) -> GraphArray:
        """The gradient at the first changed sample, (N, 1, ...)."""
        own, dims = self.round.found[InputGradient]
        is_first, outer = self.g.LessOrEqual(place, np.array(0)), PREFIX + "first_gradient"
        dtype = np.dtype(np.float32)
        now = self.states.kept(is_first, {outer: self.g.tensor(own)}, {outer: dtype})
        return self.xp.array(now[outer], dims)

    def _sum(self, name: str, term: GraphArray, before: int) -> GraphArray:
        """Add a term to its sum, in float64, from the first changed sample on."""
        g, outer = self.g, f"{PREFIX}sum/{name}"
        counts = g.GreaterOrEqual(self.number, np.array(before))
        own = g.Cast(g.Where(counts, term.tensor, np.float32(0)), to=TensorProto.DOUBLE)
        self.states.carry(outer, g.Add(self.states.carried(outer), own), np.float64)
        return self.xp.array(g.tensor(outer), term.dims)

    def _graph_of_body(self, inside: Nodes, goes_on: gs.Tensor) -> GraphProto:
        first, last = _exported(self.entrance), _exported(self.passes)
        entering = [
            helper.make_tensor_value_info(_ROUND, TensorProto.INT64, ()),
            helper.make_tensor_value_info(_GOES_ON, TensorProto.BOOL, ()),
        ]
        leaving = helper.make_tensor_value_info(goes_on.name, TensorProto.BOOL, ())
        return GraphProto(
            name="round",
            node=[*first.node, *inside.nodes, *last.node],
            initializer=[*first.initializer, *inside.weights, *last.initializer],
            input=[*entering, *self.states.inputs],
            output=[leaving, *self.states.outputs],
        )

    # --- after the Loop ----------------------------------------------------------------------

    def _map(self, sums: Mapping[str, GraphArray]) -> None:
        """The map, from the sums."""
        names = [_KEPT + name for name, _ in filter(None, self._of_pictures)]
        original = self._known({name: self.g.tensor(name) for name in names})
        narrow = {name: total.made("Cast", to=TensorProto.FLOAT) for name, total in sums.items()}
        values = self.formula.map(self.xp, original, narrow)
        self._name(self._placed(values), value_name(0, 0))

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

    def _joined(self, before: Nodes, parts: Sequence[GraphProto]) -> Model:
        """The parts as one model, with its inputs and outputs."""
        source = self.round.model.proto
        own = [one for one in source.graph.input if not one.name.startswith(PREFIX)]
        asked = self.plan.scored.target(0).given(*self.plan.scored.shapes)
        whole = GraphProto(
            name=source.graph.name or "rounds",
            node=[*before.nodes, *(node for part in parts for node in part.node)],
            initializer=[*before.weights, *(one for part in parts for one in part.initializer)],
            sparse_initializer=source.graph.sparse_initializer,
            input=[*own, *(self._declared(parameter(0, k), v) for k, v in asked.items())],
            output=self._outputs(),
        )
        proto = ModelProto(**fields(source, without=["graph", "ir_version"]), graph=whole)
        proto.ir_version = max(source.ir_version, _LEAST_IR)
        return replace(self.round.model, proto=proto)

    def _outputs(self) -> list[ValueInfoProto]:
        plan, specs = self.plan, self.specs
        shape = plan.layers[0].grid if plan.layers else self.scene.shape[1:]
        return [
            *(
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(specs[name].dtype), specs[name].shape
                )
                for name in dict.fromkeys([plan.answer, *plan.outputs])
            ),
            helper.make_tensor_value_info(
                value_name(0, 0), TensorProto.FLOAT, [self._pictures, *shape]
            ),
            *(self._declared(settled_name(k), value) for k, value in self.round.kept.items()),
        ]

    def _declared(self, name: str, like: Array) -> ValueInfoProto:
        """An input or output of the type and shape of `like`, for each picture."""
        kind = helper.np_dtype_to_tensor_dtype(like.dtype)
        return helper.make_tensor_value_info(name, kind, [self._pictures, *like.shape])

    @property
    def _pictures(self) -> int | str:
        return self.plan.batch or BATCH

    def _name(self, tensor: gs.Tensor, name: str) -> None:
        """Give a tensor a name that is read elsewhere."""
        self.g.graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [self.g.tensor(name)]))


def _exported(graph: gs.Graph) -> GraphProto:
    return gs.export_onnx(graph, do_type_check=False).graph
