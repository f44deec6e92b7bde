"""How points near a sample are fed to the graph that is differentiated."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from onnxplain.execution.points import Blend, Points
from onnxplain.execution.runner import Runner, fill
from onnxplain.model.model import Model
from onnxplain.runtime.session import Session
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.fixed_batch import with_batch
from onnxplain.transforms.masks import BASELINE, X, masked


class PointInputs:
    """Feeds points to the graph: as arrays, or as masks that the graph itself blends with."""

    def __init__(self, runner: Runner, x: FloatArray, points: Points, exact: int | None) -> None:
        self._runner = runner
        self._x = x
        self._points = points
        self._exact = exact
        self.form: Hashable = (points.mask, x.shape) if isinstance(points, Blend) else None
        """Points with equal forms can share a graph."""

    def entered(self, model: Model, outputs: Sequence[str]) -> Model:
        """The part of the model that computes `outputs`, with nodes that blend the points."""
        if not isinstance(self._points, Blend):
            return model
        blended = masked(model, self._runner.spec, self._x.shape, self._points.mask, outputs)
        name = PREFIX + next(iter(self._points.feeds))
        return blended if self._exact is None else with_batch(blended, name, self._exact)

    def shared(self, session: Session) -> Mapping[str, object]:
        """Feeds that are the same for all batches, placed on the device; by input name."""
        if not isinstance(self._points, Blend):
            return {}
        return {X: session.place(self._x), BASELINE: session.place(self._points.baseline)}

    def feeds(self, part: slice, size: int) -> dict[str, Array]:
        """Feeds for some of the points, by input name, padded to `size` by repeating the last."""
        if isinstance(self._points, Blend):
            named = self._points.feeds.items()
            return {PREFIX + name: fill(array[part], size) for name, array in named}
        spec = self._runner.spec
        return {spec.name: fill(self._points.make(part).astype(spec.dtype), size)}
