"""What a method is, and what it may ask about the sample it explains."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from onnxplain.analysis.classifier import Classifier
from onnxplain.analysis.layers import Layer
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.errors import LayerError, OptionError
from onnxplain.execution.baselines import BaselineSpec
from onnxplain.methods.options import ScoreKind, option
from onnxplain.methods.points import Points, passes
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.masks import Mask


@dataclass(frozen=True, eq=False)
class Batch:
    """Scores of some perturbed samples.

    `part` says which samples; `scores` is (b, targets); `masks`, where asked for, is what each
    sample was multiplied with.
    """

    part: slice
    scores: FloatArray
    masks: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of targets' scores at some points.

    `part` says which points; `scores` is (targets, b); `values` is (targets, b, ...) of the shape
    of the input, or (targets, b, channels, rows, columns) at a layer, where `activation` is (b,
    channels, rows, columns). Each point took so many `forwards`: one more than the backward pass
    needs where a target's derivative depends on the answer.
    """

    part: slice
    scores: FloatArray
    values: FloatArray
    activation: FloatArray | None = None
    forwards: int = 1

    @property
    def passes(self) -> dict[str, int]:
        """What these gradients have cost."""
        targets, points = self.scores.shape
        return passes(points, targets, forwards=self.forwards)


@dataclass(frozen=True, eq=False)
class Attention:
    """One array (heads, tokens, tokens) for each block of a transformer; rows ask, columns answer.

    The first `prefix` tokens are extra ones, such as a class token, the others lie on a `grid` of
    rows and columns. `read` says how much each of them weighs (tokens,) where the score is read
    from them, 1 in all. Gradients took so many `forwards` for each group of targets.
    """

    values: Sequence[FloatArray]
    prefix: int
    grid: tuple[int, ...]
    read: FloatArray
    forwards: int = 0


class Anatomy(Protocol):
    """What a method may ask about a model before anything is explained."""

    def layer(self, name: str) -> Layer:
        """The layer of that name; "auto" is the last one whose grid matters to the score."""

    @property
    def main_layers(self) -> Sequence[Layer]:
        """The layers that matter and that all of the way to the score leads through, in order."""

    def classifier(self) -> Classifier:
        """The linear classifier behind a global pool."""


class Subject(Protocol):
    """One sample and its targets, as a method sees them.

    `x` is (1, ...) float32, as the model takes it; `spatial` are its axes of rows and columns of a
    picture, or of time of a signal. Where neighbours along an axis need not belong together, as in
    a row of features, it is not `smooth`, and `spatial` is every axis behind the batch; `scores` is
    (targets,).
    """

    x: FloatArray
    spatial: tuple[int, ...]
    smooth: bool
    scores: FloatArray
    classes: tuple[int | None, ...]

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers that the method asked to look at."""

    @property
    def layer(self) -> Layer:
        """The one that is looked at: the first, unless `at` chose another."""

    def at(self, layer: Layer) -> Subject:
        """The same sample, with another of the layers looked at."""

    def activation(self) -> FloatArray:
        """The activation at the layer, (channels, rows, columns)."""

    def baseline(self, spec: BaselineSpec, seed: int = 0) -> FloatArray:
        """What "absent" looks like, of the shape of `x`; `seed` is for a random one."""

    def scores_of(self, x: FloatArray) -> FloatArray:
        """Scores (targets,) of another sample of the shape of `x`."""

    def perturbed(
        self,
        mask: Mask,
        feeds: Mapping[str, Array],
        baseline: FloatArray,
        *,
        with_masks: bool = False,
    ) -> Iterator[Batch]:
        """Scores of `mask * x + (1 - mask) * baseline`, for each mask described by `feeds`."""

    def perturbed_layer(self, mask: Mask, feeds: Mapping[str, Array]) -> Iterator[Batch]:
        """Scores with the layer's activation multiplied by each mask described by `feeds`."""

    def gradient(
        self, rules: Rules = STANDARD, beside: Mapping[str, FloatArray] | None = None
    ) -> FloatArray:
        """Gradients of the targets' scores by the input, at the sample, (targets, ...).

        `beside` are other samples, (1, ...), for rules that compare the sample with them.
        """

    def gradients(self, points: Points, targets: Sequence[int]) -> Iterator[Gradients]:
        """The same at points near the sample, for targets that go `together`."""

    def layer_gradient(self, targets: Sequence[int]) -> FloatArray:
        """Gradients by the layer's activation, (targets, channels, rows, columns).

        Those by all layers are kept until other `targets`, which go `together`, are asked for.
        """

    def layer_gradients(
        self, points: Points, targets: Sequence[int]
    ) -> Iterator[Iterator[Gradients]]:
        """The same at points near the sample, by every one of `layers`, one after the other."""

    def climb(self, channel: int, points: Points) -> Iterator[Gradients]:
        """Gradients by the input of the mean of one of the layer's channels, and that mean."""

    def attention(self) -> Attention:
        """What each block of a transformer attends to."""

    def attention_gradients(self) -> Attention:
        """Gradients of each block's own scores by what it attends to.

        Each is (targets, heads, tokens, tokens).
        """

    def classifier(self) -> Classifier:
        """The linear classifier behind a global pool."""

    def spread(self, maps: Array) -> FloatArray:
        """Maps over the spatial axes, (targets, rows, columns), in the shape of the input."""


@dataclass(frozen=True, eq=False)
class Maps:
    """What a method computed: `values` is (targets, ...), signed and never rescaled.

    `diagnostics` hold for all targets, `each` has those of every single one. Sentences under
    `warnings` say what to mind about a map.
    """

    values: FloatArray
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    each: Sequence[Mapping[str, Any]] = ()

    def about(self, target: int) -> dict[str, Any]:
        """Everything that is told of one target's map."""
        return {**self.diagnostics, **(self.each[target] if self.each else {})}

    def warned(self, sentence: str) -> Maps:
        """The same, with one more warning for every target; an empty one is none."""
        if not sentence:
            return self
        told = [self.about(target) for target in range(len(self.values))]
        each = [one | {"warnings": [*one.get("warnings", ()), sentence]} for one in told]
        return replace(self, each=each)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """An explanation method and its options, which are its fields.

    `score` says which number of the model is explained: "logit", before a final softmax or sigmoid,
    or "probability".

    Raises:
        OptionError: an option's value is of the wrong type.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    cost: ClassVar[str]
    needs_gradient: ClassVar[bool] = False
    makes_picture: ClassVar[bool] = False
    """The values are a picture as the model takes it, which may start from none."""

    score: ScoreKind = "logit"

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            given = getattr(self, f.name)
            try:
                object.__setattr__(self, f.name, option(str(f.type), given))
            except ValueError as error:
                raise OptionError(
                    f"{self.name} takes {error} as {f.name}, not {given!r}."
                ) from None

    @property
    def needs_target(self) -> bool:
        """Whether the map depends on what is explained; else models without classes will do."""
        return True

    @property
    def finds_layer(self) -> bool:
        """Whether the layer is chosen by itself."""
        return False

    @abstractmethod
    def maps(self, subject: Subject) -> Maps:
        """Explain one sample, for all of its targets at once."""

    @abstractmethod
    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """One target's values as a map of rows and columns, before any rescaling.

        `spatial` are the axes of rows and columns in the model's input.
        """

    def look_at(self, anatomy: Anatomy) -> Sequence[Layer]:
        """The layers whose activations the method needs."""
        return ()

    def sheet(self, values: FloatArray) -> FloatArray | None:
        """Maps (maps, rows, columns) to draw as a contact sheet in place of the heatmap."""
        return None

    @property
    def shows(self) -> str | None:
        """What a map shows in place of the target."""
        return None

    def options(self) -> dict[str, Any]:
        """Every option with its value."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


@dataclass(frozen=True, kw_only=True)
class LayerMethod(Method):
    """A method whose map lies on a layer's grid. `layer` is a node, a tensor, or "auto"."""

    layer: str = "auto"

    @property
    def finds_layer(self) -> bool:
        """Unless the user named one."""
        return self.layer == "auto"

    def look_at(self, anatomy: Anatomy) -> Sequence[Layer]:
        """The layer that the user named, or the last one with a grid."""
        return [one_layer(anatomy, self.layer, self.name)]

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """The values are such a map already."""
        return values


@dataclass(frozen=True, kw_only=True)
class InputMethod(Method):
    """A method whose values have the shape of the model's input."""

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """One channel's share: windows and masks cover every channel alike."""
        rest = tuple(i for i in range(values.ndim) if i + 1 not in spatial)
        shared: FloatArray = values.mean(axis=rest)
        return shared


def one_layer(anatomy: Anatomy, name: str, method: str) -> Layer:
    """The layer of that name, for a method that looks at one.

    Raises:
        LayerError: there is no such layer, or several were named.
    """
    try:
        return anatomy.layer(name)
    except LayerError:
        if name == "all" or "," in name:
            raise LayerError(
                f"{method} looks at one layer, not at several, and was given {name!r}: name one."
            ) from None
        raise


def collect(batches: Iterable[Batch]) -> FloatArray:
    """The scores of all batches, (samples, targets)."""
    return np.concatenate([batch.scores for batch in batches])


def rows_and_columns(
    method: str, subject: Subject, instead: str = "occlusion with fill zeros"
) -> tuple[int, int]:
    """The input's axes of rows and columns.

    `instead` is a method for inputs without.

    Raises:
        OptionError: the input is no picture.
    """
    if not subject.smooth or len(subject.spatial) != 2:
        raise OptionError(
            f"{method} needs an input with rows and columns, and this one has the shape "
            f"{subject.x.shape}: use {instead}."
        )
    rows, columns = subject.spatial
    return rows, columns


def relu(values: FloatArray) -> FloatArray:
    """Negative values set to zero."""
    return np.maximum(values, np.float32(0))


def weighted_sum(weights: FloatArray, activation: FloatArray) -> FloatArray:
    """Σ_k w_k A^k: (targets, rows, columns) from (targets, C) and (C, rows, columns)."""
    return np.tensordot(weights, activation, axes=1).astype(np.float32)
