"""A model and a formula as one graph: samples and their targets go in, maps come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.analysis.biases import Bias, find_biases
from onnxplain.analysis.layers import Layer
from onnxplain.analysis.layout import Layout
from onnxplain.analysis.transformer import Transformer, find_transformer
from onnxplain.autodiff.differentiate import gradient_name, with_gradients
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.errors import TargetError
from onnxplain.execution.block_gradients import with_block_gradients
from onnxplain.execution.scoring import (
    Scored,
    answer_tensor,
    parameters,
    seed_tensor,
    with_seeds,
)
from onnxplain.execution.wants import (
    Activation,
    Attention,
    AttentionGradients,
    BiasGradients,
    ClassWeights,
    Input,
    InputGradient,
    LayerGradient,
    Reference,
    ReferenceScore,
    TokensRead,
    Want,
)
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.formulas.namespace import Namespace
from onnxplain.model.constants import quantization
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape, model_shapes
from onnxplain.tensors import FloatArray, TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended, fed, with_outputs
from onnxplain.transforms.paired import paired_name, with_paired


class Formula(Protocol):
    """What a method computes of the tensors that it wants, over an array namespace."""

    @property
    def wants(self) -> Sequence[Want]:
        """What `map` and `report` are given, in this order."""

    def map(self, xp: Namespace, *wanted: Any) -> Any:
        """The map of one target at one layer, for a batch of samples, (N, ...)."""

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """Numbers about the map, (N,) each, by name."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a finished graph computes.

    `model` is the model that takes the samples, and `lowered` the same in the form that rules of
    gradients are written for. One sample has the shape `shape`; `batch` is their number where the
    graph takes no other. `spec` is the input that is explained, and `planes`
    the order of its axes that makes (N, channels, rows, columns), None where it is no picture.
    `others` are the shapes of the other inputs, for the smallest batch that the graph takes.
    `layers` are those that the formula looks at.
    `class_weights` are (classes, channels). With `cut`, the graph starts from the activation of the
    layer of that name, in place of the input.
    """

    model: Model
    lowered: Model
    spec: TensorSpec
    shape: Shape
    planes: tuple[int, ...] | None
    scored: Scored
    formula: Formula
    layers: Sequence[Layer]
    others: Mapping[str, Shape] = field(default_factory=dict)
    batch: int | None = None
    class_weights: FloatArray | None = None
    cut: TensorSpec | None = None

    @property
    def answer(self) -> str:
        """The tensor that scores are read from, the first output."""
        return self.scored.reading.tensor

    @property
    def sizes(self) -> Mapping[str, Shape]:
        """Shapes of all inputs, for the smallest batch that the graph takes."""
        return {self.spec.name: (self.batch or 1, *self.shape[1:]), **self.others}

    @property
    def targets(self) -> int:
        """How many targets each sample has."""
        return self.scored.count

    @property
    def places(self) -> range:
        """Numbers of the layers with a map; one where the formula looks at no layer."""
        return range(max(1, len(self.layers)))


def value_name(layer: int, target: int) -> str:
    """The output with the map of a target at a layer."""
    return f"{PREFIX}values/{layer}/{target}"


def report_name(name: str, layer: int, target: int) -> str:
    """The output with a number about that map."""
    return f"{PREFIX}report/{layer}/{target}/{name}"


def reference_name(plan: Plan, name: str) -> str:
    """The input for a sample that the explained one is compared with."""
    return paired_name(name, plan.spec.name)


def finish(plan: Plan) -> Model:
    """The graph of a plan; its outputs are the answer tensor, the maps, and what is reported.

    Raises:
        GradientError: an operator on the way has no gradient.
        LayerError: the model is no transformer that attends to all tokens of one grid.
        TargetError: the answer holds no scores of the kind that is read.
    """
    model = plan.lowered
    if plan.cut is not None:
        model = fed(model, plan.cut)
    for rules in _by_rules(plan):
        model = rules.hooks.lower(model)
    for name in _references(plan.formula.wants):
        model = with_paired(model, name, plan.spec.name)
    if any(want.per_target for want in plan.formula.wants):
        model = with_seeds(model, plan.scored, plan.batch)
    seeds = [seed_tensor(t) for t in range(plan.targets)]
    parts = _parts(plan)
    for number, (rules, tensors) in enumerate(_by_rules(plan, parts.biases).items()):
        prefix = f"{PREFIX}grad_{number}/"
        model = with_gradients(model, plan.answer, tensors, seeds, rules, prefix)
    if AttentionGradients() in plan.formula.wants:
        model = with_block_gradients(model, parts.transformer, plan.scored, plan.batch)
    return _with_maps(model, plan, parts)


@dataclass(frozen=True, eq=False)
class _Parts:
    """Parts of the lowered model that formulas read, as far as they do.

    `shapes` are those of its tensors, for the smallest batch that the graph takes.
    """

    biases: Sequence[Bias] = ()
    blocks: Transformer | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def transformer(self) -> Transformer:
        """The blocks, for formulas that read them."""
        assert self.blocks is not None, "the formula wants nothing of the blocks"
        return self.blocks


def _parts(plan: Plan) -> _Parts:
    """What the formula reads of the lowered model."""
    model, picture, wants = plan.lowered, plan.spec.name, plan.formula.wants
    of_biases, on_tokens = BiasGradients() in wants, any(want.on_tokens for want in wants)
    if not (of_biases or on_tokens):
        return _Parts()
    shapes = model_shapes(model, plan.sizes)
    return _Parts(
        find_biases(model, picture, plan.answer) if of_biases else (),
        find_transformer(model, shapes, picture, plan.answer) if on_tokens else None,
        shapes,
    )


def _by_rules(plan: Plan, biases: Sequence[Bias] = ()) -> dict[Rules, list[str]]:
    """What the answer is differentiated by, for each set of rules."""
    found: dict[Rules, dict[str, None]] = {}
    for want in plan.formula.wants:
        if isinstance(want, LayerGradient):
            found.setdefault(STANDARD, {}).update((layer.tensor, None) for layer in plan.layers)
        elif isinstance(want, BiasGradients):
            found.setdefault(STANDARD, {}).update((bias.tensor, None) for bias in biases)
        elif isinstance(want, InputGradient):
            found.setdefault(want.rules, {})[plan.spec.name] = None
    return {rules: list(tensors) for rules, tensors in found.items()}


def _references(wants: Sequence[Want]) -> list[str]:
    """Names of the samples that the explained one is compared with."""
    names: dict[str, None] = {}
    for want in wants:
        names.update(dict.fromkeys(want.references))
    return list(names)


def _with_maps(model: Model, plan: Plan, parts: _Parts) -> Model:
    """The model with the formula's nodes, and no other outputs than `finish` says."""
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, PREFIX + "map/")
    tensors = _Tensors(plan, GraphNamespace(g, plan.targets), parts)
    outputs = dict(_results(plan, tensors))
    for name, array in outputs.items():
        graph.nodes.append(gs.Node("Identity", name, {}, [array.tensor], [gs.Variable(name)]))
    added = gs.export_onnx(graph, do_type_check=False).graph
    finished = with_outputs(appended(model, added), [plan.answer, *outputs])
    for value in finished.proto.graph.output:
        if value.name in outputs:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return finished


def _results(plan: Plan, tensors: _Tensors) -> Iterator[tuple[str, GraphArray]]:
    """The maps of all layers and targets and what is reported about them, by the output's name."""
    formula, xp = plan.formula, tensors.xp
    for layer in plan.places:
        for target in range(plan.targets):
            wanted = [tensors.get(want, layer, target) for want in formula.wants]
            yield value_name(layer, target), tensors.placed(formula.map(xp, *wanted))
            for name, number in formula.report(xp, *wanted).items():
                yield report_name(name, layer, target), number


class _Tensors:
    """What formulas want, as arrays of the graph."""

    def __init__(self, plan: Plan, xp: GraphNamespace, parts: _Parts) -> None:
        self.plan = plan
        self.parts = parts
        self.xp = xp
        self._g = xp.builder
        self._made: dict[tuple[Want, int, int], Any] = {}
        self._read: dict[str, gs.Tensor] = {}

    def get(self, want: Want, layer: int, target: int) -> Any:
        """What a want stands for, made once for all that share it."""
        key = want, layer if want.at_layer else 0, target if want.per_target else 0
        if key not in self._made:
            self._made[key] = _MAKERS[type(want)](self, want, layer, target)
        return self._made[key]

    def placed(self, array: GraphArray) -> GraphArray:
        """A map with planes as the model's input has its axes, one of tokens on their grid."""
        planes, wants = self.plan.planes, self.plan.formula.wants
        if any(want.on_tokens for want in wants):
            return self._on_grid(array, self.parts.transformer.layout)
        turned = any(getattr(want, "planes", False) for want in wants)
        if not turned or planes is None or len(array.dims) != len(planes):
            return array
        return _permuted(array, tuple(np.argsort(planes)))

    def activation(self, want: Want, layer: int, target: int) -> GraphArray:
        """See `Activation`."""
        found = self.plan.layers[layer]
        real = self._float(found.tensor, found.shape)
        quantized = quantization(self.plan.model, found.tensor)
        if quantized is not None:
            real = (real - quantized.zero) * quantized.scale
        return self._channels_first(real, found)

    def layer_gradient(self, want: Want, layer: int, target: int) -> GraphArray:
        """See `LayerGradient`."""
        found = self.plan.layers[layer]
        slopes = self._named(gradient_name(found.tensor, target), found.shape)
        quantized = quantization(self.plan.model, found.tensor)
        if quantized is not None:  # it is that by the integers
            slopes = slopes / quantized.scale
        return self._channels_first(slopes, found)

    def input(self, want: Input, layer: int, target: int) -> GraphArray:
        """See `Input`."""
        return self._planes(self._float(self.plan.spec.name, self.plan.shape), want.planes)

    def reference(self, want: Reference, layer: int, target: int) -> GraphArray:
        """See `Reference`."""
        return self._float(reference_name(self.plan, want.name), self.plan.shape)

    def input_gradient(self, want: InputGradient, layer: int, target: int) -> GraphArray:
        """See `InputGradient`."""
        found = self._named(gradient_name(self.plan.spec.name, target), self.plan.shape)
        return self._planes(found, want.planes)

    def reference_score(self, want: ReferenceScore, layer: int, target: int) -> GraphArray:
        """See `ReferenceScore`."""
        scored = self.plan.scored
        answer = self._float(paired_name(want.name, self.plan.answer), scored.shape)
        own = scored.target(target)
        given = parameters(self.xp, scored, target)
        return scored.reading.score(self.xp, own, answer, **given)  # type: ignore[no-any-return]

    def class_weights(self, want: Want, layer: int, target: int) -> GraphArray:
        """See `ClassWeights`.

        Raises:
            TargetError: the target is no class.
        """
        scored = self.plan.scored
        given = parameters(self.xp, scored, target)
        if "code" not in given:
            raise TargetError(
                "CAM explains single outputs only: use gradcam or occlusion for this target."
            )
        weights = self.plan.class_weights
        assert weights is not None, "the plan has no classifier"
        answer = self._named(answer_tensor(), scored.shape)
        index = scored.target(target).settled(self.xp, answer, given)["code"]
        own = self._g.Gather(weights.astype(np.float32), index.tensor, axis=0)
        column = self._g.Unsqueeze(own, np.array([2, 3]))
        return self.xp.array(column, (None, weights.shape[1], 1, 1))

    def bias_gradients(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `BiasGradients`."""
        return [
            self._named(gradient_name(bias.tensor, target), shape) * bias.values.reshape(-1, 1, 1)
            for bias in self.parts.biases
            if len(shape := self.parts.shapes.get(bias.tensor, ())) == _PICTURE_RANK
        ]

    def attention(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `Attention`."""
        return [self._matrices(name, name) for name in self.parts.transformer.attention]

    def attention_gradients(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `AttentionGradients`."""
        names = self.parts.transformer.attention
        return [self._matrices(gradient_name(name, target), name) for name in names]

    def tokens_read(self, want: Want, layer: int, target: int) -> GraphArray:
        """See `TokensRead`."""
        blocks = self.parts.transformer
        if blocks.pool is not None:
            rows = self._matrices(blocks.pool, blocks.pool)
            return self.xp.mean(self.xp.mean(rows, axis=-2, keepdims=True), axis=-3)
        weights = np.zeros((1, 1, blocks.tokens), np.float32)
        weights[..., list(blocks.read)] = 1 / len(blocks.read)
        return self.xp.array(self._g.constant(weights), weights.shape)

    def _matrices(self, name: str, like: str) -> GraphArray:
        """A tensor of the shape of `like` as (N, heads, rows, columns).

        Its batch and heads may be merged.
        """
        *outer, rows, columns = self.parts.shapes[like]
        heads = prod(outer) // self.plan.sizes[self.plan.spec.name][0]
        tensor = self._g.Reshape(self._tensor(name), np.array([-1, heads, rows, columns]))
        return self.xp.array(tensor, (None, heads, rows, columns))

    def _float(self, name: str, shape: Shape) -> GraphArray:
        tensor = self._g.Cast(self._tensor(name), to=TensorProto.FLOAT)
        return self.xp.array(tensor, (None, *shape[1:]))

    def _named(self, name: str, shape: Shape) -> GraphArray:
        return self.xp.array(self._tensor(name), (None, *shape[1:]))

    def _tensor(self, name: str) -> gs.Tensor:
        """A tensor of the model, by one object only."""
        return self._read.setdefault(name, gs.Variable(name))

    def _planes(self, array: GraphArray, wanted: bool) -> GraphArray:
        planes = self.plan.planes
        return _permuted(array, planes) if wanted and planes is not None else array

    def _channels_first(self, values: GraphArray, layer: Layer) -> GraphArray:
        """Values at a layer as (N, channels, rows, columns), extra tokens dropped."""
        axes, layout = layer.layout.axes, layer.layout
        order = [0, axes.index("C"), *(i for i, a in enumerate(axes) if a not in "NC")]
        planes = _permuted(values, tuple(order))
        return self._on_grid(planes, layout) if "T" in axes else planes

    def _on_grid(self, tokens: GraphArray, layout: Layout) -> GraphArray:
        """Numbers for each token, (..., tokens), on their grid, extra tokens dropped."""
        g, outer = self._g, tokens.dims[:-1]
        kept, last = tokens.tensor, np.iinfo(np.int64).max
        if layout.prefix:
            start, axis = np.array([layout.prefix]), np.array([len(outer)])
            kept = g.Slice(kept, start, np.array([last]), axis)
        grid = g.Reshape(kept, np.array([*(0 for _ in outer), *layout.grid]))
        return self.xp.array(grid, (*outer, *layout.grid))


def _permuted(array: GraphArray, order: Sequence[int]) -> GraphArray:
    """The axes in another order."""
    if list(order) == sorted(order):
        return array
    dims = tuple(array.dims[i] for i in order)
    return array.made("Transpose", perm=[int(i) for i in order], dims=dims)


_MAKERS: Mapping[type[Want], Callable[..., Any]] = {
    Activation: _Tensors.activation,
    LayerGradient: _Tensors.layer_gradient,
    Input: _Tensors.input,
    Reference: _Tensors.reference,
    InputGradient: _Tensors.input_gradient,
    ReferenceScore: _Tensors.reference_score,
    ClassWeights: _Tensors.class_weights,
    BiasGradients: _Tensors.bias_gradients,
    Attention: _Tensors.attention,
    AttentionGradients: _Tensors.attention_gradients,
    TokensRead: _Tensors.tokens_read,
}

_PICTURE_RANK = 4
