"""The three kinds of methods: single-pass, sampled and adaptive methods."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from onnxplain.analysis.layers import Layer
from onnxplain.errors import LayerError, OptionError
from onnxplain.execution.baselines import BaselineSpec, Scene
from onnxplain.execution.points import passes
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.subject import Structure, Subject
from onnxplain.execution.wants import ClassWeights, SampleScores, SampleWeights, Want
from onnxplain.formulas.namespace import Namespace, average
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.options import LayerName, Score
from onnxplain.methods.smoothing import Smoothed
from onnxplain.tensors import FloatArray

_PLAIN = (str, int, float, tuple, type(None))
"""Types of options that are used in a method's key."""


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of a method: `values` is (targets, ...), signed and never rescaled.

    `diagnostics` are common to all targets; `each` has the diagnostics of each target. The key
    `warnings` in them holds sentences for the user.
    """

    values: FloatArray
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    each: Sequence[Mapping[str, Any]] = ()

    def about(self, target: int) -> dict[str, Any]:
        """All diagnostics of one target's map."""
        return {**self.diagnostics, **(self.each[target] if self.each else {})}

    def warned(self, sentence: str) -> Maps:
        """The same maps with one more warning for every target; no change if it is empty."""
        if not sentence:
            return self
        diagnostics = [self.about(target) for target in range(len(self.values))]
        each = [one | {"warnings": [*one.get("warnings", ()), sentence]} for one in diagnostics]
        return replace(self, each=each)


@dataclass(frozen=True, kw_only=True)
class Method(Smoothed, ABC):
    """An explanation method and its options, which are its fields; see `Configured`.

    `score` says which number of the model is explained: "logit", before a final softmax or sigmoid,
    or "probability".
    """

    summary: ClassVar[str]
    paper: ClassVar[str]
    cost: ClassVar[str]
    needs_gradient: ClassVar[bool] = False
    makes_picture: ClassVar[bool] = False
    """Whether the values are a picture in the form of the model's input."""

    weights_channels: ClassVar[bool] = False
    """Whether each channel has one weight for all cells, so that other places are shown too."""

    values_are_scores: ClassVar[bool] = False
    """Whether a value is the score of what was kept; else it is a part of the score, or a change.

    Scores have no zero at which a place has no effect, and are not added up.
    """

    score: Score = "logit"

    @functools.cached_property
    def key(self) -> Hashable:
        """Methods with equal keys can share graphs; array options are only fed to the graphs."""
        plain = (one for one in self.options().items() if isinstance(one[1], _PLAIN))
        return type(self), *plain

    @property
    def needs_target(self) -> bool:
        """Whether the map depends on the target; if not, models need no classes."""
        return True

    @property
    def finds_layer(self) -> bool:
        """Whether the layer is chosen automatically."""
        return False

    def check(self, scene: Scene) -> None:
        """Check the options, and that the method can explain this sample.

        Raises:
            OptionError: an option is out of its range, or does not fit the sample.
        """

    def check_sample(self, scene: Scene) -> None:
        """Check the options of this method, and those that it shares with others of its kind.

        Raises:
            OptionError: as `check`.
        """
        self.check(scene)

    def filtered(self, xp: Namespace, values: Any, spatial: tuple[int, ...]) -> Any:
        """The formula of what is done to the values (N, ...) of the map at the end; see `heats`."""
        return values

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """One target's values as a map (rows, columns); see `heats`."""
        return np.asarray(self.heats(NUMPY, values[None], spatial)[0])

    def heats(self, xp: Namespace, values: Any, spatial: tuple[int, ...]) -> Any:
        """The formula of a map (N, rows, columns) from values (N, ...), before any rescaling.

        `spatial` are the axes of rows and columns in the model's input.
        """
        return values

    def is_varied(self, values: FloatArray, spatial: tuple[int, ...]) -> bool:
        """Whether a fast check shows that the heat is not the same everywhere; False if unsure."""
        return False

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layers whose activations the method needs."""
        return ()

    def joined(
        self, maps: Sequence[Maps], layers: Sequence[Layer], shared: Mapping[str, Any]
    ) -> Maps:
        """One result from the maps of each layer; `shared` diagnostics are common to all layers."""
        (only,) = maps
        return Maps(only.values, {**only.diagnostics, **shared}, only.each)

    def sheet(self, values: FloatArray) -> FloatArray | None:
        """Maps (maps, rows, columns) to draw as a contact sheet instead of the heatmap, or None."""
        return None

    @property
    def fixed_target(self) -> str | None:
        """The name of what the map shows if that is not the target; None if it is."""
        return None


@dataclass(frozen=True, eq=False)
class Computed:
    """The results of a finished graph for one sample.

    `values` and `reports` hold one entry for each layer: the maps (targets, ...), and numbers about
    them by name, (targets,) each. `plain_runs` is the number of runs of the model itself that were
    needed before to find the targets.
    """

    values: Sequence[FloatArray]
    reports: Sequence[Mapping[str, FloatArray]]
    plain_runs: int = 0


@dataclass(frozen=True, kw_only=True)
class SinglePassMethod(Method):
    """A method whose map is a formula of tensors from one pass through the model.

    Model and formula run as one graph, for a batch of samples.
    """

    needs_sizes: ClassVar[bool] = False
    """Whether the formula's nodes depend on the size of the sample."""

    distributes: ClassVar[bool] = False
    """Whether the map distributes a number that the graph computes; targets must be linear."""

    runs_beside: ClassVar[int] = 1
    """Forward passes for a sample: its own, and those of the references."""

    def check_model(self, structure: Structure) -> None:
        """Check that the method can explain the model, before it is run.

        Raises:
            LayerError: the model lacks parts that the formula reads.
            OptionError: an option does not fit the model.
        """

    @property
    @abstractmethod
    def wants(self) -> Sequence[Want]:
        """The arguments of `map` and `report`, in this order."""

    @abstractmethod
    def map(self, xp: Namespace, *wanted: Any, **_: Any) -> Any:
        """The formula: the map of one target at one layer, (N, ...)."""

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """Numbers about the map, computed in the same graph, (N,) each, by name."""
        return {}

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """Diagnostics of one target's map, and sentences under "warnings"."""
        return {}

    def facts(self, structure: Structure) -> dict[str, Any]:
        """Diagnostics that are the same for all maps of the model."""
        return {}

    @property
    def reads_classifier(self) -> bool:
        """Whether the formula reads the weights of the linear classifier."""
        return ClassWeights() in self.wants

    @property
    def starts_at_layer(self) -> bool:
        """Whether everything that the formula reads is at a layer or after it in the graph."""
        return all(want.at_layer or want == ClassWeights() for want in self.wants)

    @property
    def references(self) -> Mapping[str, BaselineSpec]:
        """Samples that the explained one is compared with, by the names used in `wants`."""
        return {}

    def collected(
        self, computed: Computed, scores: FloatArray, layers: Sequence[Layer], structure: Structure
    ) -> Maps:
        """The maps of one sample, with diagnostics; `scores` are (targets,)."""
        spent = self.spent(len(scores), computed.plain_runs)
        maps = [
            Maps(values, self.facts(structure), self._each(values, report, scores))
            for values, report in zip(computed.values, computed.reports, strict=True)
        ]
        return self.joined(maps, layers, spent)

    def _each(
        self, values: FloatArray, report: Mapping[str, FloatArray], scores: FloatArray
    ) -> list[dict[str, Any]]:
        return [
            self.diagnostics_of(
                own, float(score), {name: float(all_[t]) for name, all_ in report.items()}
            )
            for t, (own, score) in enumerate(zip(values, scores, strict=True))
        ]

    def spent(self, targets: int, before: int) -> Passes:
        """Counts of the passes used for maps of `targets` targets, with `before` plain runs."""
        if not self.needs_gradient:
            return {}
        return passes(1, targets, before, forwards=self.runs_beside)


Passes = Mapping[str, int]
"""Numbers of forward and backward passes of the whole model, by name."""


Sums = Mapping[str, Any]
"""Sums over changed samples by name, (N, ...) for N targets."""


@dataclass(frozen=True, kw_only=True)
class SampledMethod(Method):
    """A method whose map is a formula of the scores or gradients of changed samples.

    `sampling` says how the samples are made, and `wants` what is read from them. `terms` reduces
    one batch of samples to terms. The terms of all batches are added in float64, and `map` computes
    the map from the sums. All formulas take N targets at once.
    """

    changes_layer: ClassVar[bool] = False
    """Whether the changed samples are changed activations of a layer."""

    @property
    @abstractmethod
    def wants(self) -> Sequence[Want]:
        """The arguments of `terms` after `original`, in this order."""

    @property
    def repeats(self) -> bool:
        """Whether a target may be repeated with a finer method."""
        return False

    @abstractmethod
    def sampling(self, original: Original) -> Sequence[Sampling]:
        """The changed samples; the samplings are run one after the other.

        They are used for the map at the layer of `original`. If a want has `at_layer`, they are
        used for the maps at all layers that the method reads. This is a formula too, over the
        namespace of the scene; it must not read scores.
        """

    def check_scores(self, original: Original) -> None:
        """Check the scores of a sample before it is changed. In a graph nothing is checked.

        Raises:
            MapError: the method has no map for this sample.
        """

    @abstractmethod
    def terms(self, xp: Namespace, original: Original, *found: Any) -> Sums:
        """What a batch of changed samples adds to each sum, (N, ...); 0 if the batch is empty."""

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """The map from the sums over all samples, (N, ...); by default the only sum.

        It has one value for each element of the input, each position along its spatial axes, or
        each cell of the layer's grid.
        """
        (only,) = sums.values()
        return only

    def diagnostics_of(self, values: FloatArray, change: float) -> dict[str, Any]:
        """Diagnostics of one target's map, and sentences under "warnings".

        `change` is S(x) − S(x'), the score of the sample minus the mean score of the references.
        """
        return {}

    def finer(self, values: FloatArray, change: float) -> SampledMethod | None:
        """The method to repeat a target with if these values are not good enough; else None."""
        return None


@dataclass(frozen=True, kw_only=True)
class ScoredMethod(SampledMethod):
    """A sampled method that reads the score of each changed sample, and its weight."""

    wants: ClassVar[Sequence[Want]] = (SampleScores(), SampleWeights())


@dataclass(frozen=True, kw_only=True)
class AdaptiveMethod(Method):
    """A method that chooses each changed sample from the results so far."""

    @abstractmethod
    def maps(self, subject: Subject) -> Maps:
        """Explain one sample, for all of its targets at once."""


@dataclass(frozen=True, kw_only=True)
class LayerMethod(Method):
    """A method whose map is on a layer's grid. `layer` is a node, a tensor, or "auto"."""

    layer: LayerName = "auto"

    @property
    def finds_layer(self) -> bool:
        """See `Method`; False if the user named a layer."""
        return self.layer == "auto"

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layer that the user named, or the last one with a grid."""
        return [one_layer(structure, self.layer, self.name)]


@dataclass(frozen=True, kw_only=True)
class InputMethod(Method):
    """A method whose values have the shape of the model's input.

    The heatmap is the mean over channels, because windows and masks cover every channel.
    """

    over_channels: ClassVar[Callable[..., Any]] = staticmethod(average)
    """How the channels become one value: called with a namespace, the values and `axis`."""

    over_embedding: ClassVar[Callable[..., Any]] = staticmethod(np.mean)
    """How the values of a token's embedding become one value: called with the values and `axis`."""

    values_are_magnitudes: ClassVar[bool] = False
    """Whether a value has no sign, as the size of a gradient; it is no part of the score."""

    @property
    def adds_up(self) -> bool:
        """Whether several parts of the input have the sum of their values, else the mean."""
        return not (self.values_are_scores or self.values_are_magnitudes)

    def heats(self, xp: Namespace, values: Any, spatial: tuple[int, ...]) -> Any:
        """See `Method`."""
        rest = besides(values, spatial)
        return self.over_channels(xp, values, axis=rest) if rest else values


def besides(values: Any, spatial: tuple[int, ...]) -> tuple[int, ...]:
    """The negative axes of values (N, ...) that are neither the batch nor in `spatial`."""
    rank = len(values.shape)
    return tuple(axis - rank for axis in range(1, rank) if axis not in spatial)


def one_layer(structure: Structure, name: str, method: str) -> Layer:
    """The layer of that name, for a method that reads a single layer.

    Raises:
        LayerError: there is no such layer, or several were named.
    """
    try:
        return structure.layer(name)
    except LayerError:
        if name == "all" or "," in name:
            raise LayerError(
                f"{method} reads one layer, not several, and was given {name!r}: name one."
            ) from None
        raise


def rows_and_columns(
    method: str, scene: Scene, instead: str = "occlusion with fill zeros"
) -> tuple[int, int]:
    """The input's axes of rows and columns.

    `instead` names a method for inputs without rows and columns.

    Raises:
        OptionError: the input is no picture.
    """
    if not scene.has_spatial_axes or len(scene.spatial) != 2:
        raise OptionError(
            f"{method} needs an input with rows and columns, and this one has the shape "
            f"{scene.shape}: use {instead}."
        )
    rows, columns = scene.spatial
    return rows, columns
