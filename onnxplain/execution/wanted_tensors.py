"""The tensors that formulas want, as arrays of a finished graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.analysis.layers import Layer
from onnxplain.analysis.layout import PICTURE_RANK, Layout
from onnxplain.autodiff.differentiate import gradient_name
from onnxplain.autodiff.hessian import hessian_product_name
from onnxplain.autodiff.propagation.attention import RELEVANCE
from onnxplain.errors import GradientError, TargetError
from onnxplain.execution.plan import Plan, reference_name
from onnxplain.execution.scoring import answer_tensor, parameters
from onnxplain.execution.wants import (
    Activation,
    Attention,
    AttentionGradients,
    AttentionRelevance,
    BiasGradients,
    BlockGradients,
    ClassGradients,
    ClassQueries,
    ClassWeights,
    GridKeys,
    Input,
    InputGradient,
    LayerGradient,
    LayerHessianProduct,
    Reference,
    ReferenceScore,
    TokensRead,
    Want,
)
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.model.constants import quantization
from onnxplain.model.shapes import Shape
from onnxplain.tensors import FloatArray
from onnxplain.transforms.paired import paired_name


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

    def layer_hessian_product(self, want: Want, layer: int, target: int) -> GraphArray:
        """See `LayerHessianProduct`.

        Raises:
            GradientError: the layer's activation is quantized.
        """
        found = self.plan.layers[layer]
        if quantization(self.plan.model, found.tensor) is not None:
            raise GradientError(
                f"The layer {found.tensor!r} is quantized, and a quantized activation has no "
                "second derivative: use a float model, or gradcam."
            )
        products = self._named(hessian_product_name(found.tensor, target), found.shape)
        return self._channels_first(products, found)

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

    def attention(self, want: Attention, layer: int, target: int) -> list[GraphArray]:
        """See `Attention`."""
        blocks = self.plan.transformer
        names = blocks.matrices if want.pool else blocks.attention
        return [self._matrices(name, name) for name in names]

    def attention_gradients(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `AttentionGradients`."""
        names = self.plan.transformer.matrices
        return [self._matrices(gradient_name(name, target), name) for name in names]

    def attention_relevance(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `AttentionRelevance`."""
        names = self.plan.transformer.matrices
        return [self._matrices(gradient_name(name, target, RELEVANCE), name) for name in names]

    def class_gradients(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `ClassGradients`."""
        blocks = self.plan.transformer
        found = (self._matrices(gradient_name(name, target), name) for name in blocks.attention)
        rows = (self._of_grid(self._class_row(array), blocks.layout) for array in found)
        return [self.xp.sum(row, axis=-2) for row in rows]

    def class_queries(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `ClassQueries`."""
        names = [factors.queries for factors in self.plan.transformer.factors if factors]
        return [self._class_row(self._matrices(name, name)) for name in names]

    def grid_keys(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `GridKeys`."""
        blocks = self.plan.transformer
        names = [factors.keys for factors in blocks.factors if factors]
        return [self._of_grid(self._matrices(name, name), blocks.layout) for name in names]

    def block_gradients(self, want: Want, layer: int, target: int) -> list[GraphArray]:
        """See `BlockGradients`."""
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

    def _class_row(self, array: GraphArray) -> GraphArray:
        """The row of the class token, (N, heads, 1, ...), of (N, heads, tokens, ...)."""
        index = np.array([self.plan.transformer.class_token()])
        row = self._g.Gather(array.tensor, index, axis=2)
        return self.xp.array(row, (*array.dims[:2], 1, array.dims[3]))

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
        kept = self._of_grid(tokens, layout)
        return self._reshaped(kept, kept.dims[:-1], layout.grid)

    def _of_grid(self, array: GraphArray, layout: Layout) -> GraphArray:
        """Values per token, (..., tokens), without extra tokens, which are the first."""
        *outer, tokens = array.dims
        count = prod(layout.grid)
        if tokens == count:
            return array
        start, last = np.array([layout.prefix]), np.array([np.iinfo(np.int64).max])
        kept = self._g.Slice(array.tensor, start, last, np.array([len(outer)]))
        return self.xp.array(kept, (*outer, count))

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
    LayerHessianProduct: Tensors.layer_hessian_product,
    Input: Tensors.input,
    Reference: Tensors.reference,
    InputGradient: Tensors.input_gradient,
    ReferenceScore: Tensors.reference_score,
    ClassWeights: Tensors.class_weights,
    BiasGradients: Tensors.bias_gradients,
    Attention: Tensors.attention,
    AttentionGradients: Tensors.attention_gradients,
    AttentionRelevance: Tensors.attention_relevance,
    BlockGradients: Tensors.block_gradients,
    ClassGradients: Tensors.class_gradients,
    ClassQueries: Tensors.class_queries,
    GridKeys: Tensors.grid_keys,
    TokensRead: Tensors.tokens_read,
}
