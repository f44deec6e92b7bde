"""What a formula may want of a sample and of its targets.

A want is a description; `execution.finished` says how each becomes tensors of a graph, and
`execution.sample` how those of changed samples are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules


@dataclass(frozen=True)
class Want:
    """Something that a formula reads.

    `per_target` says that every target has one of its own, `at_layer` that every layer has. A
    formula of what is `on_tokens` has one number for each token, (N, tokens), and the graph lays
    them on the grid, without the extra ones.
    """

    per_target: ClassVar[bool] = False
    at_layer: ClassVar[bool] = False
    on_tokens: ClassVar[bool] = False

    @property
    def references(self) -> tuple[str, ...]:
        """Names of other samples that it depends on."""
        return ()


@dataclass(frozen=True)
class Activation(Want):
    """The layer's activation as real numbers, (N, channels, rows, columns)."""

    at_layer: ClassVar[bool] = True


@dataclass(frozen=True)
class LayerGradient(Want):
    """The gradient of the score by the layer's activation, (N, channels, rows, columns)."""

    per_target: ClassVar[bool] = True
    at_layer: ClassVar[bool] = True


@dataclass(frozen=True)
class Input(Want):
    """The sample itself, in the shape of the model's input, float32.

    With `planes`, a picture (N, channels, rows, columns), wherever the model has its channels.
    """

    planes: bool = False


@dataclass(frozen=True)
class Reference(Want):
    """Another sample, of the shape of the input, that a method compares the sample with."""

    name: str

    @property
    def references(self) -> tuple[str, ...]:
        """See `Want`."""
        return (self.name,)


@dataclass(frozen=True)
class InputGradient(Want):
    """The gradient of the score by the input, by some rules; `planes` as for `Input`.

    `compared` are the names of the other samples that the rules read.
    """

    rules: Rules = STANDARD
    compared: tuple[str, ...] = ()
    planes: bool = False
    per_target: ClassVar[bool] = True

    @property
    def references(self) -> tuple[str, ...]:
        """See `Want`."""
        return self.compared


@dataclass(frozen=True)
class ReferenceScore(Reference):
    """The score of a reference, (N,)."""

    per_target: ClassVar[bool] = True


@dataclass(frozen=True)
class ClassWeights(Want):
    """The linear classifier's weights for the target's class, (N, channels, 1, 1)."""

    per_target: ClassVar[bool] = True


@dataclass(frozen=True)
class BiasGradients(Want):
    """Each bias of the model times the gradient of the score where it is added.

    A list of arrays (N, channels, rows, columns), from the input to the score.
    """

    per_target: ClassVar[bool] = True


@dataclass(frozen=True)
class Attention(Want):
    """The attention of each block of a transformer, from the first to the last.

    A list of arrays (N, heads, tokens, tokens); rows ask and columns answer.
    """

    on_tokens: ClassVar[bool] = True


@dataclass(frozen=True)
class TokensRead(Want):
    """How much of each token the score reads after the last block, (N, 1, tokens), 1 in all."""

    on_tokens: ClassVar[bool] = True


@dataclass(frozen=True)
class AttentionGradients(Want):
    """The gradients of each block's own score by its attention, as for `Attention`.

    A block's own score is what the model would answer if that block were the last one.
    """

    per_target: ClassVar[bool] = True
    on_tokens: ClassVar[bool] = True


@dataclass(frozen=True)
class SampleScores(Want):
    """The scores of changed samples, (targets, samples)."""


@dataclass(frozen=True)
class SampleWeights(Want):
    """What changed samples count with, (samples, ...), as `execution.sampling.Sampling` says.

    By default, the masks that they are seen through, (samples, places).
    """


@dataclass(frozen=True)
class FirstGradient(Want):
    """The gradient at the first of all changed samples, (1, 1, ...) of the shape of the input."""

    per_target: ClassVar[bool] = True
