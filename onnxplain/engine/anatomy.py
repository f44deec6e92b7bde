"""The layers of a model, for samples of one shape."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from onnxplain.engine.runner import Runner
from onnxplain.errors import LayerError
from onnxplain.graph.classifier import Classifier, find_classifier
from onnxplain.graph.layers import LAYOUTS, Layer, auto_layer, grid_layers, tensor_of
from onnxplain.graph.layout import find_layouts
from onnxplain.graph.model import Model
from onnxplain.graph.names import closest
from onnxplain.graph.shapes import Shape, infer_shapes
from onnxplain.tensors import Array


class ModelAnatomy:
    """Answers what a method may ask about the model before anything is explained."""

    def __init__(self, runner: Runner, x: Array, score: str) -> None:
        """Look at the model as it handles `x`, (1, ...), on the way to the tensor `score`."""
        self._runner = runner
        self._x = x
        self._score = score

    @property
    def _model(self) -> Model:
        return self._runner.model

    @functools.cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor: inferred, or where that fails read off a run."""
        known = infer_shapes(self._model.proto, {self._runner.spec.name: self._x.shape})
        wiring = self._model.wiring
        unknown = [
            name
            for index in wiring.between(self._runner.spec.name, self._score)
            for name in wiring.nodes[index].output
            if name and name not in known
        ]
        if unknown:
            values = self._runner.forward(self._x, unknown)
            known |= {name: value.shape for name, value in zip(unknown, values, strict=True)}
        return known

    @functools.cached_property
    def layers(self) -> list[Layer]:
        """Every layer with a grid, in order."""
        return grid_layers(self._model, self.shapes, self._runner.spec.name, self._score)

    def layer(self, name: str) -> Layer:
        """See `methods.base.Anatomy`.

        Raises:
            LayerError: there is no such layer, it has no grid, or it does not lead to the score.
        """
        if name == "auto":
            return auto_layer(self._model, self.layers)
        tensor = tensor_of(self._model, name)
        found = next((layer for layer in self.layers if layer.tensor == tensor), None)
        if found is not None:
            return found
        raise LayerError(f"The layer {name!r} {self._why_not(tensor)}{self._others(name)}.")

    def classifier(self) -> Classifier:
        """See `methods.base.Anatomy`."""
        return find_classifier(self._model, self._score)

    def _why_not(self, tensor: str) -> str:
        picture, wiring = self._runner.spec.name, self._model.wiring
        if tensor not in {
            name
            for index in wiring.between(picture, self._score)
            for name in wiring.nodes[index].output
        }:
            return "does not lie between the picture and the score"
        shape = self.shapes[tensor]
        layout = find_layouts(self._model, self.shapes, picture).get(tensor)
        if layout is not None and layout.axes in LAYOUTS:
            return f"has no spatial grid of more than one cell: its shape is {shape}"
        return f"has no rows and columns that can be told from its shape {shape}"

    def _others(self, name: str) -> str:
        return closest(name, [layer.tensor for layer in reversed(self.layers)])
