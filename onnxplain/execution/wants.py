"""What a formula may want of a sample and of its targets.

A want only describes an array. `execution.wanted_tensors` makes it a tensor of a graph, and
`execution.sample` computes it for changed samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules


@dataclass(frozen=True)
class Want:
    """An array that a formula reads.

    `per_target` means that there is one for each target, `at_layer` one for each layer. With
    `on_tokens`, the formula's map has one number for each token, (N, tokens), or for each token of
    the grid, and the graph puts them on the grid. Wants of a class without fields are all equal.
    """

    per_target: ClassVar[bool] = False
    at_layer: ClassVar[bool] = False
    on_tokens: ClassVar[bool] = False

    @property
    def references(self) -> tuple[str, ...]:
        """Names of other samples that the array depends on."""
        return ()


class Activation(Want):
    """The layer's activation as real numbers, (N, channels, rows, columns)."""

    at_layer: ClassVar[bool] = True


class LayerGradient(Want):
    """The gradient of the score at the layer's activation, (N, channels, rows, columns)."""

    per_target: ClassVar[bool] = True
    at_layer: ClassVar[bool] = True


class LayerHessianProduct(Want):
    """H · A, (N, channels, rows, columns): a formula with this want also wants `LayerGradient`.

    A is the layer's activation, and H has the second derivatives of the score with respect to it.
    """

    per_target: ClassVar[bool] = True
    at_layer: ClassVar[bool] = True


@dataclass(frozen=True)
class Input(Want):
    """The sample itself, in the shape of the model's input, float32.

    With `planes`, a picture is (N, channels, rows, columns), whatever the model's axis order.
    """

    planes: bool = False


@dataclass(frozen=True)
class Reference(Want):
    """Another sample, in the shape of the input, that a method compares the sample with."""

    name: str

    @property
    def references(self) -> tuple[str, ...]:
        """See `Want`."""
        return (self.name,)


@dataclass(frozen=True)
class InputGradient(Want):
    """The gradient of the score at the input, computed with `rules`; `planes` as for `Input`.

    `references` are the names of the other samples that the rules read.
    """

    rules: Rules = STANDARD
    references: tuple[str, ...] = ()
    planes: bool = False
    per_target: ClassVar[bool] = True


class ReferenceScore(Reference):
    """The score of a reference, (N,)."""

    per_target: ClassVar[bool] = True


class ClassWeights(Want):
    """The linear classifier's weights, added as the target adds classes, (N, channels, 1, 1)."""

    per_target: ClassVar[bool] = True


class BiasGradients(Want):
    """Each bias of the model, multiplied by the gradient of the score where the bias is added.

    A list of arrays (N, channels, rows, columns), from the input to the score.
    """

    per_target: ClassVar[bool] = True


@dataclass(frozen=True)
class Attention(Want):
    """The attention of each block of a transformer, from the first to the last.

    A list of arrays (N, heads, tokens, tokens); rows are queries and columns are keys. With `pool`,
    the attention that pools the tokens after the last block is the last array, (N, heads, rows,
    tokens) with fewer rows than tokens, if the model has one.
    """

    pool: bool = False
    on_tokens: ClassVar[bool] = True


class TokensRead(Want):
    """The weight of each token in the score after the last block, (N, 1, tokens), 1 in total."""

    on_tokens: ClassVar[bool] = True


class AttentionGradients(Want):
    """The gradients of the score at the attention, in shapes as for `Attention` with `pool`."""

    per_target: ClassVar[bool] = True
    on_tokens: ClassVar[bool] = True


class AttentionRelevance(Want):
    """The relevance of the attention in the score, in shapes as for `Attention` with `pool`.

    It is distributed by the rules of `autodiff.propagation.attention`.
    """

    per_target: ClassVar[bool] = True
    on_tokens: ClassVar[bool] = True


class ClassGradients(Want):
    """The gradients of the score at what the class token attends to on the grid, for each block.

    A list of arrays (N, heads, tokens of the grid).
    """

    per_target: ClassVar[bool] = True
    on_tokens: ClassVar[bool] = True


class ClassQueries(Want):
    """The query of the class token in each block, a list of arrays (N, heads, 1, features)."""

    on_tokens: ClassVar[bool] = True


class GridKeys(Want):
    """The keys of the tokens of the grid in each block.

    A list of arrays (N, heads, features, tokens of the grid).
    """

    on_tokens: ClassVar[bool] = True


class BlockGradients(Want):
    """The gradients of each block's own score at its attention, in shapes as for `Attention`.

    A block's own score is the score that the model would have if that block were the last one.
    """

    per_target: ClassVar[bool] = True
    on_tokens: ClassVar[bool] = True


class SampleScores(Want):
    """The scores of changed samples, (targets, samples)."""


class SampleWeights(Want):
    """The weights of changed samples, (samples, ...), from `execution.sampling.Sampling`.

    By default these are the masks of the samples, (samples, places).
    """


class SampleIndices(Want):
    """The index of each changed sample among those of its sampling, int64 (samples,)."""


class FirstGradient(Want):
    """The gradient at the first of all changed samples, (1, 1, ...), in the shape of the input."""

    per_target: ClassVar[bool] = True
