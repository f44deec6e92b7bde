"""What metrics judge: a map of one sample for one target, and questions about the sample."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxplain.analysis.score import ScoreKind
from onnxplain.errors import MapError, OptionError, TargetError
from onnxplain.execution.arrays import is_finite, nearest
from onnxplain.execution.baselines import BaselineSpec, Scene
from onnxplain.execution.points import Points
from onnxplain.execution.subject import Subject
from onnxplain.explainer import Explainer, Picture
from onnxplain.explainer.taken import Taken
from onnxplain.images.places import Places
from onnxplain.methods.base import Method
from onnxplain.results.explanation import Explanation
from onnxplain.targets import Target, TargetSpec
from onnxplain.tensors import Array, FloatArray

_PASSES = "forward_passes", "backward_passes"


@dataclass(frozen=True, eq=False)
class Case:
    """A sample and a target, whose maps are judged.

    `inside` is bool (H, W), on the pixels of the picture: where what is explained really is; None
    if this is not known. `spent` counts the passes that metrics used so far.
    """

    explainer: Explainer
    taken: Taken
    target: Target
    inside: Array | None = None
    spent: Counter[str] = field(default_factory=Counter)
    _subjects: dict[ScoreKind, Subject] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        explainer: Explainer,
        picture: Picture,
        target: TargetSpec = "top1",
        inside: Array | None = None,
    ) -> Case:
        """A picture or an array, and the one target that `target` means for it.

        Raises:
            TargetError: it means several.
            OnnxplainError: as `Explainer.explain`.
        """
        taken = explainer.take(picture)
        found = explainer.targets(taken, target)
        if len(found) > 1:
            raise TargetError(
                f"{target!r} means {len(found)} targets, and a map has one: name a class, or use "
                "top1."
            )
        return cls(explainer, taken, found[0], inside)

    def with_target(self, target: Target) -> Case:
        """The same sample for another target; it counts the same passes."""
        return replace(self, target=target, _subjects={})

    @functools.cached_property
    def scene(self) -> Scene:
        """The sample, with what is known about its axes."""
        return self.explainer.scene(self.taken.x)

    def baseline(self, spec: BaselineSpec) -> FloatArray:
        """A baseline of the sample; where the input has no black, "black" means zeros."""
        colorless = self.scene.colors is None and isinstance(spec, str) and spec == "black"
        found: FloatArray = self.scene.baseline("zeros" if colorless else spec)
        return found

    def score(self, kind: ScoreKind) -> float:
        """The score of the sample."""
        return float(self._subject(kind).scores[0])

    def scores(self, made: Points, kind: ScoreKind) -> Array:
        """The scores of changed samples, float64 (samples,)."""
        self.spent["forward_passes"] += made.count
        return self._subject(kind).perturbed(made)[:, 0].astype(np.float64)

    def _subject(self, kind: ScoreKind) -> Subject:
        if kind not in self._subjects:
            self._subjects[kind] = self.explainer.subject(self.taken, self.target, kind)
            self.spent["forward_passes"] += 1
        return self._subjects[kind]

    def explained(self, method: str | Method, **options: Any) -> Judged:
        """The map of a method.

        Raises:
            OptionError: the method draws no map.
            OnnxplainError: as `Explainer.explain`.
        """
        configured = self.explainer.configured(method, options)
        target = self.target if configured.needs_target else "top1"
        return self.of_explanation(
            self.explainer.explain(self.taken, configured, target), configured
        )

    def of_explanation(self, explanation: Explanation, method: Method) -> Judged:
        """The map of an explanation of this sample and target.

        Raises:
            OptionError: the method draws no map.
        """
        if explanation.sheet is not None:
            raise OptionError(
                f"{method.name} draws no map on the input that could be judged: name a method "
                "that does, such as gradcam."
            )
        return Judged(self, method.name, explanation.values, method, explanation)

    def of_heat(self, name: str, heat: Array) -> Judged:
        """A map that no method of ours made: one value for each place of the model's input.

        Raises:
            MapError: it has another shape, or values that are not finite.
        """
        values = np.asarray(heat, np.float32)
        if values.shape != self.scene.places:
            raise MapError(
                f"The map {name} has the shape {values.shape}, and the input has "
                f"{self.scene.places} places."
            )
        if not is_finite(values):
            raise MapError(f"The values of the map {name} are not finite.")
        return Judged(self, name, values)


@dataclass(frozen=True, eq=False)
class Judged:
    """A map of a case; `method` and `explanation` are None if no method of ours made it.

    `values` are signed and never rescaled, at the method's own resolution.
    """

    case: Case
    name: str
    values: FloatArray
    method: Method | None = None
    explanation: Explanation | None = None

    @functools.cached_property
    def heat(self) -> Array:
        """One value for each place of the model's input, float64, in the method's own units.

        A grid of a layer is enlarged linearly.
        """
        return self.heat_of(self.values)

    def heat_of(self, values: FloatArray) -> Array:
        """As `heat`, for other values of the method."""
        scene = self.case.scene
        grid = values if self.method is None else self.method.heat(values, scene.spatial)
        return Places(scene.places).on_seen(grid).astype(np.float64)

    @functools.cached_property
    def weights(self) -> FloatArray:
        """The heat scaled to [0, 1], float32, by its smallest and its largest value.

        Raises:
            MapError: the map is the same everywhere.
        """
        low, high = self.heat.min(), self.heat.max()
        if not high > low:
            raise MapError(f"The map of {self.name} is the same everywhere, so it has no order.")
        scaled: FloatArray = ((self.heat - low) / (high - low)).astype(np.float32)
        return scaled

    @property
    def on_input(self) -> Array:
        """One value for each element of the input, float64 (1, ...).

        Methods that explain places or a layer have the same value for all channels of a place.
        """
        scene = self.case.scene
        if self.values.shape == scene.shape[1:]:
            return self.values[None].astype(np.float64)
        return scene.broadcast_to_input(self.heat[None]).astype(np.float64)

    @functools.cached_property
    def on_picture(self) -> tuple[Array, Array]:
        """The heat on the picture's own pixels, float64 (H, W), and bool (H, W): what was seen."""
        taken = self.case.taken
        grid = self.values
        if self.method is not None:
            grid = self.method.heat(self.values, self.case.scene.spatial)
        heat = taken.canvas.on_canvas(taken.canvas.on_seen(grid)).astype(np.float64)
        return heat, np.ones(heat.shape, bool) if taken.seen is None else taken.seen

    @property
    def made_by(self) -> Method:
        """The method.

        Raises:
            OptionError: the map was given, so that it cannot be made again.
        """
        if self.method is None:
            raise OptionError(f"The map {self.name} was given, and no method can make it again.")
        return self.method

    def again(
        self, samples: FloatArray, explainer: Explainer | None = None, target: Target | None = None
    ) -> FloatArray:
        """The method's values for other samples, (N, ...), or another model or target.

        Raises:
            OptionError: the map was given, so that it cannot be made again.
            OnnxplainError: as `Explainer.attribute`.
        """
        method, case = self.made_by, self.case
        own = explainer or case.explainer
        given = nearest(samples, case.explainer.input.dtype)
        named = (target or case.target) if method.needs_target else "top1"
        found = own.attribute(given, method, named)
        for one in found.diagnostics["samples"]:
            case.spent.update({key: one.get(key, key == _PASSES[0]) for key in _PASSES})
        return found.values

    @property
    def cost(self) -> Mapping[str, int]:
        """The passes through the model that the map itself took, by name."""
        about = {} if self.explanation is None else self.explanation.diagnostics
        return {key: int(about.get(key, key == _PASSES[0])) for key in _PASSES}
