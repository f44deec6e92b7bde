"""A model and a method's formula as one graph, from samples and their targets to maps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol, cast

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.analysis.biases import Bias, find_biases
from onnxplain.analysis.layers import Layer
from onnxplain.analysis.layout import PICTURE_RANK, Layout
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


class Wanting(Protocol):
    """What a method computes from the tensors that it wants, written for any array namespace."""

    @property
    def wants(self) -> Sequence[Want]:
        """The first arguments of the method's formulas, in this order."""


class Formula(Wanting, Protocol):
    """What a method of one pass computes."""

    def map(self, xp: Namespace, *wanted: Any) -> Any:
        """The map of one target at one layer, for a batch of samples, (N, ...)."""

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """Numbers about the map, (N,) each, by name."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a finished graph computes.

    Attributes:
        model: the model that takes the samples.
        lowered: the same model in operators that have gradient rules.
        spec: the input that is explained.
        shape: the shape of one sample, (1, ...).
        planes: the order of the input's axes that makes (N, channels, rows, columns); None if the
            input is no picture.
        layers: the layers that the formula reads.
        others: the shapes of the other inputs, for the smallest batch that the graph takes.
        batch: the batch size if the graph takes only that size, else None.
        class_weights: (classes, channels).
        cut: if given, the graph starts from the activation of this layer, not from the input.
        outputs: other tensors of the model that the graph also returns.
    """

    model: Model
    lowered: Model
    spec: TensorSpec
    shape: Shape
    planes: tuple[int, ...] | None
    scored: Scored
    formula: Wanting
    layers: Sequence[Layer]
    others: Mapping[str, Shape] = field(default_factory=dict)
    batch: int | None = None
    class_weights: FloatArray | None = None
    cut: TensorSpec | None = None
    outputs: Sequence[str] = ()

    @property
    def answer(self) -> str:
        """The tensor that scores are read from; it is the first output of the graph."""
        return self.scored.reading.tensor

    @property
    def sizes(self) -> Mapping[str, Shape]:
        """Shapes of all inputs, for the smallest batch that the graph takes."""
        return {self.spec.name: (self.batch or 1, *self.shape[1:]), **self.others}

    @property
    def targets(self) -> int:
        """The number of targets in the graph."""
        return self.scored.count

    @property
    def places(self) -> range:
        """Indices of the layers with a map; only 0 if the formula reads no layer."""
        return range(max(1, len(self.layers)))

    @functools.cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shapes of the lowered model's tensors, for the smallest batch that the graph takes."""
        return model_shapes(self.lowered, self.sizes)

    @functools.cached_property
    def biases(self) -> Sequence[Bias]:
        """The biases of the lowered model, for formulas that read them."""
        return find_biases(self.lowered, self.spec.name, self.answer)

    @functools.cached_property
    def transformer(self) -> Transformer:
        """The transformer blocks of the lowered model, for formulas that read them.

        Raises:
            LayerError: the model is no transformer that attends to all tokens of one grid.
        """
        return find_transformer(self.lowered, self.shapes, self.spec.name, self.answer)


def value_name(layer: int, target: int) -> str:
    """The name of the output with the map of a target at a layer."""
    return f"{PREFIX}values/{layer}/{target}"


def report_name(name: str, layer: int, target: int) -> str:
    """The name of the output with a reported number about that map."""
    return f"{PREFIX}report/{layer}/{target}/{name}"


def reference_name(plan: Plan, name: str) -> str:
    """The name of the input for a reference, a sample that the explained one is compared with."""
    return paired_name(name, plan.spec.name)


def finish(plan: Plan) -> Model:
    """The graph of a plan.

    Its outputs are the answer tensor, the other tensors that the plan names, the maps and the
    reported numbers.

    Raises:
        GradientError: an operator that must be differentiated has no gradient.
        LayerError: the model is no transformer that attends to all tokens of one grid.
        TargetError: the answer holds no scores of the kind that is read.
    """
    model = plan.lowered
    if plan.cut is not None:
        model = fed(model, plan.cut)
    by_rules = _by_rules(plan)
    for rules in by_rules:
        model = rules.hooks.lower(model)
    wants = plan.formula.wants
    for name in dict.fromkeys(name for want in wants for name in want.references):
        model = with_paired(model, name, plan.spec.name)
    if any(want.per_target for want in wants):
        model = with_seeds(model, plan.scored, plan.batch)
    seeds = [seed_tensor(t) for t in range(plan.targets)]
    for number, (rules, tensors) in enumerate(by_rules.items()):
        prefix = f"{PREFIX}grad_{number}/"
        model = with_gradients(model, plan.answer, tensors, seeds, rules, prefix)
    if AttentionGradients() in wants:
        model = with_block_gradients(model, plan.transformer, plan.scored, plan.batch)
    return _with_maps(model, plan)


def _by_rules(plan: Plan) -> dict[Rules, list[str]]:
    """The tensors to differentiate with respect to, for each set of gradient rules."""
    found: dict[Rules, dict[str, None]] = {}
    for want in plan.formula.wants:
        if isinstance(want, LayerGradient):
            found.setdefault(STANDARD, {}).update((layer.tensor, None) for layer in plan.layers)
        elif isinstance(want, BiasGradients):
            found.setdefault(STANDARD, {}).update((bias.tensor, None) for bias in plan.biases)
        elif isinstance(want, InputGradient):
            found.setdefault(want.rules, {})[plan.spec.name] = None
    return {rules: list(tensors) for rules, tensors in found.items()}


def _with_maps(model: Model, plan: Plan) -> Model:
    """The model with the formula's nodes, and only the outputs that `finish` describes."""
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, PREFIX + "map/")
    tensors = Tensors(plan, GraphNamespace(g, plan.scored.ranks))
    outputs = dict(_results(plan, tensors))
    for name, array in outputs.items():
        graph.nodes.append(gs.Node("Identity", name, {}, [array.tensor], [gs.Variable(name)]))
    added = gs.export_onnx(graph, do_type_check=False).graph
    finished = with_outputs(appended(model, added), [plan.answer, *plan.outputs, *outputs])
    for value in finished.proto.graph.output:
        if value.name in outputs:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return finished


def _results(plan: Plan, tensors: Tensors) -> Iterator[tuple[str, GraphArray]]:
    """The maps and the reported numbers of all layers and targets, with their output names."""
    formula, xp = cast(Formula, plan.formula), tensors.xp
    for layer in plan.places:
        for target in range(plan.targets):
            wanted = [tensors.get(want, layer, target) for want in formula.wants]
            placed = tensors.placed(formula.map(xp, *wanted), layer)
            yield value_name(layer, target), placed
            for name, number in formula.report(xp, *wanted).items():
                yield report_name(name, layer, target), number


class Tensors:
    """The tensors that formulas want, as arrays of the graph."""

    def __init__(self, plan: Plan, xp: GraphNamespace) -> None:
        """Read tensors of the graph that `xp` adds nodes to."""
        self.plan = plan
        self.xp = xp
        self._g = xp.builder
        self._made: dict[tuple[Want, int, int], Any] = {}
        self._read: dict[str, gs.Tensor] = {}

    def get(self, want: Want, layer: int, target: int) -> Any:
        """The array for a want; made once and shared by layers and targets where possible."""
        key = want, layer if want.at_layer else 0, target if want.per_target else 0
        if key not in self._made:
            self._made[key] = _MAKERS[type(want)](self, want, layer, target)
        return self._made[key]

    def placed(self, array: GraphArray, layer: int) -> GraphArray:
        """A map in the axis order of the model's input, or on the grid of tokens or of a layer."""
        planes, wants = self.plan.planes, self.plan.formula.wants
        if any(want.on_tokens for want in wants):
            return self._on_grid(array, self.plan.transformer.layout)
        if self.plan.layers and len(grid := self.plan.layers[layer].grid) != 2:
            return self._reshaped(array, array.dims[:-2], grid)
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
        if quantized is not None:  # the gradient so far is with respect to the integers
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
            TargetError: the target is no weighted sum of the classifier's outputs.
        """
        scored, weights = self.plan.scored, self.plan.class_weights
        assert weights is not None, "the plan has no classifier"
        answer = self._named(answer_tensor(), scored.shape)
        given = parameters(self.xp, scored, target)
        terms = scored.target(target).terms(self.xp, answer, given)
        if not terms:
            raise TargetError(
                "CAM explains single outputs, their differences and opposites: use gradcam or "
                "occlusion for this target."
            )
        rows = [self._row(weights, place) * factor for place, factor in terms]
        return sum(rows[1:], start=rows[0])

    def _row(self, weights: FloatArray, place: GraphArray) -> GraphArray:
        """A row of the classifier's weights for each sample, (N, channels, 1, 1)."""
        own = self._g.Gather(weights.astype(np.float32), place.tensor, axis=0)
        column = self._g.Unsqueeze(own, np.array([2, 3]))
        return self.xp.array(column, (None, weights.shape[1], 1, 1))

    def bias_gradients(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `BiasGradients`."""
        return [
            self._named(gradient_name(bias.tensor, target), shape) * bias.values.reshape(-1, 1, 1)
            for bias in self.plan.biases
            if len(shape := self.plan.shapes.get(bias.tensor, ())) == PICTURE_RANK
        ]

    def attention(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `Attention`."""
        return [self._matrices(name, name) for name in self.plan.transformer.attention]

    def attention_gradients(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `AttentionGradients`."""
        names = self.plan.transformer.attention
        return [self._matrices(gradient_name(name, target), name) for name in names]

    def tokens_read(self, want: Want, layer: int, target: int) -> GraphArray:
        """See `TokensRead`."""
        blocks = self.plan.transformer
        if blocks.pool is not None:
            rows = self._matrices(blocks.pool, blocks.pool)
            return self.xp.mean(self.xp.mean(rows, axis=-2, keepdims=True), axis=-3)
        weights = np.zeros((1, 1, blocks.tokens), np.float32)
        weights[..., list(blocks.read)] = 1 / len(blocks.read)
        return self.xp.array(self._g.constant(weights), weights.shape)

    def _matrices(self, name: str, like: str) -> GraphArray:
        """A tensor with the shape of `like`, as (N, heads, rows, columns).

        In the model, batch and heads may be one axis.
        """
        *outer, rows, columns = self.plan.shapes[like]
        heads = prod(outer) // self.plan.sizes[self.plan.spec.name][0]
        tensor = self._g.Reshape(self._tensor(name), np.array([-1, heads, rows, columns]))
        return self.xp.array(tensor, (None, heads, rows, columns))

    def _float(self, name: str, shape: Shape) -> GraphArray:
        return self._named(name, shape).made("Cast", to=TensorProto.FLOAT)

    def _named(self, name: str, shape: Shape) -> GraphArray:
        return self.xp.array(self._tensor(name), (None, *shape[1:]))

    def _tensor(self, name: str) -> gs.Tensor:
        """A tensor of the model; the same object for the same name."""
        return self._read.setdefault(name, gs.Variable(name))

    def _planes(self, array: GraphArray, wanted: bool) -> GraphArray:
        planes = self.plan.planes
        return _permuted(array, planes) if wanted and planes is not None else array

    def _channels_first(self, values: GraphArray, layer: Layer) -> GraphArray:
        """Values at a layer as (N, channels, *planes), without extra tokens."""
        axes, layout = layer.layout.axes, layer.layout
        order = [0, axes.index("C"), *(i for i, a in enumerate(axes) if a not in "NC")]
        planes = _permuted(values, tuple(order))
        if len(layout.grid) != 2:
            return self._reshaped(planes, planes.dims[:2], layout.planes)
        return self._on_grid(planes, layout) if "T" in axes else planes

    def _on_grid(self, tokens: GraphArray, layout: Layout) -> GraphArray:
        """Values per token, (..., tokens), as (..., rows, columns), without extra tokens."""
        g, outer = self._g, tokens.dims[:-1]
        kept, last = tokens.tensor, np.iinfo(np.int64).max
        if layout.prefix:
            start, axis = np.array([layout.prefix]), np.array([len(outer)])
            kept = g.Slice(kept, start, np.array([last]), axis)
        return self._reshaped(self.xp.array(kept, tokens.dims), outer, layout.grid)

    def _reshaped(
        self, array: GraphArray, outer: Sequence[int | None], grid: Sequence[int]
    ) -> GraphArray:
        """An array with the first axes `outer` as they are, and the others as `grid`."""
        tensor = self._g.Reshape(array.tensor, np.array([*(0 for _ in outer), *grid]))
        return self.xp.array(tensor, (*outer, *grid))


def _permuted(array: GraphArray, order: Sequence[int]) -> GraphArray:
    """The array with its axes in another order."""
    if list(order) == sorted(order):
        return array
    dims = tuple(array.dims[i] for i in order)
    return array.made("Transpose", perm=[int(i) for i in order], dims=dims)


_MAKERS: Mapping[type[Want], Callable[..., Any]] = {
    Activation: Tensors.activation,
    LayerGradient: Tensors.layer_gradient,
    Input: Tensors.input,
    Reference: Tensors.reference,
    InputGradient: Tensors.input_gradient,
    ReferenceScore: Tensors.reference_score,
    ClassWeights: Tensors.class_weights,
    BiasGradients: Tensors.bias_gradients,
    Attention: Tensors.attention,
    AttentionGradients: Tensors.attention_gradients,
    TokensRead: Tensors.tokens_read,
}
