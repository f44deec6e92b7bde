"""The three kinds of methods: of a single pass, of changed samples, and adaptive ones."""

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
from onnxplain.execution.wants import ClassWeights, Want
from onnxplain.formulas.namespace import Namespace
from onnxplain.methods.options import LayerName, Score, options_of
from onnxplain.tensors import FloatArray

_PLAIN = (str, int, float, tuple, type(None))
"""Types of options that can be a part of a key."""


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

    score: Score = "logit"

    def __post_init__(self) -> None:
        for name, (values, _) in options_of(type(self)).items():
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, values.convert(given))
            except (TypeError, ValueError):
                raise OptionError(
                    f"{self.name} takes {values.takes} as {name}, not {given!r}."
                ) from None

    @functools.cached_property
    def key(self) -> Hashable:
        """What tells methods apart that ask other things of a model: arrays are only fed to it."""
        plain = (one for one in self.options().items() if isinstance(one[1], _PLAIN))
        return type(self), *plain

    @property
    def needs_target(self) -> bool:
        """Whether the map depends on what is explained; else models without classes will do."""
        return True

    @property
    def finds_layer(self) -> bool:
        """Whether the layer is chosen automatically."""
        return False

    def check(self, scene: Scene) -> None:  # noqa: B027 - most need no more
        """Check the options, and that the method can explain such a sample.

        Raises:
            OptionError: an option is out of its range, or does not fit the sample.
        """

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """One target's values as a map of rows and columns, before any rescaling.

        They may be such a map already. `spatial` are the axes of rows and columns in the model's
        input.
        """
        return values

    def is_varied(self, values: FloatArray, spatial: tuple[int, ...]) -> bool:
        """Whether it costs less than `heat` to tell that it is not the same everywhere."""
        return False

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layers whose activations the method needs."""
        return ()

    def joined(
        self, maps: Sequence[Maps], layers: Sequence[Layer], shared: Mapping[str, Any]
    ) -> Maps:
        """One result made of the maps at each layer; `shared` diagnostics hold for all of them."""
        (only,) = maps
        return Maps(only.values, {**only.diagnostics, **shared}, only.each)

    def sheet(self, values: FloatArray) -> FloatArray | None:
        """Maps (maps, rows, columns) to draw as a contact sheet in place of the heatmap."""
        return None

    @property
    def fixed_target(self) -> str | None:
        """What a map shows in place of the target."""
        return None

    def options(self) -> dict[str, Any]:
        """Every option with its value."""
        return {name: getattr(self, name) for name in options_of(type(self))}


@dataclass(frozen=True, eq=False)
class Computed:
    """What a finished graph computed for one sample.

    `values` and `reports` hold one entry for each layer: the maps (targets, ...), and numbers about
    them by name, (targets,) each. `plain_runs` of the model came before, to tell the targets.
    """

    values: Sequence[FloatArray]
    reports: Sequence[Mapping[str, FloatArray]]
    plain_runs: int = 0


@dataclass(frozen=True, kw_only=True)
class SinglePassMethod(Method):
    """A method whose map is a formula of tensors that one pass through the model gives.

    It runs as one graph for a batch of samples, of which only maps leave the device.
    """

    needs_sizes: ClassVar[bool] = False
    """Whether the formula's nodes depend on the size of the sample."""

    distributes: ClassVar[bool] = False
    """Whether the map shares out a number that the graph itself computes: targets are linear."""

    runs_beside: ClassVar[int] = 1
    """Samples that run forward together: the sample, and others that it is compared with."""

    def check_model(self, structure: Structure) -> None:
        """Check that the method can explain the model, before it is run.

        Raises:
            LayerError: the model has no such parts as the formula reads.
            OptionError: an option does not fit the model.
        """

    @property
    @abstractmethod
    def wants(self) -> Sequence[Want]:
        """What `map` and `report` are given, in this order."""

    @abstractmethod
    def map(self, xp: Namespace, *wanted: Any, **_: Any) -> Any:
        """The formula: the map of one target at one layer, (N, ...)."""

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """Numbers about the map that are computed with it, (N,) each, by name."""
        return {}

    def told(self, values: FloatArray, score: float, report: Mapping[str, float]) -> dict[str, Any]:
        """Diagnostics of one target's map, and sentences under "warnings"."""
        return {}

    def facts(self, structure: Structure) -> dict[str, Any]:
        """Diagnostics that hold for all maps of the model."""
        return {}

    @property
    def reads_classifier(self) -> bool:
        """Whether the formula reads the weights of the linear classifier."""
        return ClassWeights() in self.wants

    @property
    def starts_at_layer(self) -> bool:
        """Whether all that the formula reads lies at a layer or behind it."""
        return all(want.at_layer or want == ClassWeights() for want in self.wants)

    @property
    def references(self) -> Mapping[str, BaselineSpec]:
        """The samples that the explained one is compared with, by the names in `wants`."""
        return {}

    def collected(
        self, computed: Computed, scores: FloatArray, layers: Sequence[Layer], structure: Structure
    ) -> Maps:
        """The maps of one sample, with what is told of them; `scores` are (targets,)."""
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
            self.told(own, float(score), {name: float(all_[t]) for name, all_ in report.items()})
            for t, (own, score) in enumerate(zip(values, scores, strict=True))
        ]

    def spent(self, targets: int, before: int) -> Passes:
        """What the maps of some targets have cost, with the plain runs `before`."""
        if not self.needs_gradient:
            return {}
        return passes(1, targets, before, forwards=self.runs_beside)


Passes = Mapping[str, int]
"""Forward and backward passes of the whole model."""


Sums = Mapping[str, Any]
"""Sums over changed samples by name, (N, ...) for N targets."""


@dataclass(frozen=True, kw_only=True)
class SampledMethod(Method):
    """A method whose map is a formula of the scores or gradients of changed samples.

    `sampling` says how they are made, and `wants` what is read of them. `terms` reduces that of one
    batch of them; what it gives is added up in float64, and `map` makes the map of the sums. All
    formulas hold for N targets at once.
    """

    @property
    @abstractmethod
    def wants(self) -> Sequence[Want]:
        """What `terms` is given of some changed samples, in this order."""

    @abstractmethod
    def sampling(self, original: Original) -> Sequence[Sampling]:
        """The changed samples, which are run one sampling after the other.

        They are for the map at the layer of `original`, or, where a want is of the layer, for those
        at all layers that the method looks at.

        Raises:
            MapError: there is no map of such a sample.
        """

    @abstractmethod
    def terms(self, xp: Namespace, original: Original, *found: Any) -> Sums:
        """What some changed samples add to each sum, (N, ...); nothing where there are none."""

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """The map of the sums over all samples, (N, ...); by default the only sum.

        It has a value for each element of the input, each place along its spatial axes, or each
        cell of the layer's grid.
        """
        (only,) = sums.values()
        return only

    def told(self, values: FloatArray, change: float) -> dict[str, Any]:
        """Diagnostics of one target's map, and sentences under "warnings".

        `change` is S(x) − S(x'), the score of the sample less the mean one of the references.
        """
        return {}

    def finer(self, values: FloatArray, change: float) -> SampledMethod | None:
        """The method to repeat with for a target of which these values are not good enough."""
        return None


@dataclass(frozen=True, kw_only=True)
class AdaptiveMethod(Method):
    """A method that chooses what to ask of a sample by what it has found so far."""

    @abstractmethod
    def maps(self, subject: Subject) -> Maps:
        """Explain one sample, for all of its targets at once."""


@dataclass(frozen=True, kw_only=True)
class LayerMethod(Method):
    """A method whose map lies on a layer's grid. `layer` is a node, a tensor, or "auto"."""

    layer: LayerName = "auto"

    @property
    def finds_layer(self) -> bool:
        """Unless the user named one."""
        return self.layer == "auto"

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layer that the user named, or the last one with a grid."""
        return [one_layer(structure, self.layer, self.name)]


@dataclass(frozen=True, kw_only=True)
class InputMethod(Method):
    """A method whose values have the shape of the model's input.

    The heatmap is one channel's share: windows and masks cover every channel alike.
    """

    over_channels: ClassVar[Callable[..., Any]] = staticmethod(np.mean)

    def heat(self, values: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
        """See `Method`."""
        rest = tuple(i for i in range(values.ndim) if i + 1 not in spatial)
        return np.asarray(self.over_channels(values, axis=rest))


def one_layer(structure: Structure, name: str, method: str) -> Layer:
    """The layer of that name, for a method that looks at one.

    Raises:
        LayerError: there is no such layer, or several were named.
    """
    try:
        return structure.layer(name)
    except LayerError:
        if name == "all" or "," in name:
            raise LayerError(
                f"{method} looks at one layer, not at several, and was given {name!r}: name one."
            ) from None
        raise


def rows_and_columns(
    method: str, scene: Scene, instead: str = "occlusion with fill zeros"
) -> tuple[int, int]:
    """The input's axes of rows and columns.

    `instead` is a method for inputs without.

    Raises:
        OptionError: the input is no picture.
    """
    if not scene.has_spatial_axes or len(scene.spatial) != 2:
        raise OptionError(
            f"{method} needs an input with rows and columns, and this one has the shape "
            f"{scene.x.shape}: use {instead}."
        )
    rows, columns = scene.spatial
    return rows, columns
