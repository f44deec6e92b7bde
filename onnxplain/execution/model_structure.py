"""The layers, classifier and transformer blocks of a model, for samples of one shape."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from onnxplain.analysis.answer_maps import AnswerMap, find_answer_map
from onnxplain.analysis.classifier import Classifier, find_classifier
from onnxplain.analysis.layers import (
    LAYOUTS,
    Layer,
    auto_layer,
    grid_layers,
    main_layers,
    tensor_of,
    unplaced_sums,
)
from onnxplain.analysis.layout import Layout, find_layouts, require_grids
from onnxplain.analysis.neck import neck_layers
from onnxplain.analysis.score import ScoreTensor
from onnxplain.analysis.segmentation import before_classifier, coarsest_layer
from onnxplain.analysis.transformer import Transformer, find_transformer
from onnxplain.errors import LayerError
from onnxplain.execution.runner import Runner
from onnxplain.images.labels import Labels
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape, model_shapes
from onnxplain.suggestions import closest
from onnxplain.targets.answer_shape import is_one_number_per_class
from onnxplain.tensors import Array
from onnxplain.transforms.detections import BOXES

_WITH_LAYERS = "Use gradcam, ablationcam or scorecam, which need neither."

_WITHOUT = (
    "Use integrated_gradients or occlusion, which look at no layer (with baseline or fill zeros "
    "where the input is no picture)."
)


class ModelStructure:
    """What methods may ask about the model before anything is explained.

    See `subject.Structure`.
    """

    def __init__(
        self,
        runner: Runner,
        x: Array,
        score: ScoreTensor,
        labels: Callable[[], Labels | None],
        lowered: Callable[[], Model],
    ) -> None:
        """Analyze the model between its input, a sample `x` (1, ...), and its scores.

        `labels` is called to find out what an answer with rows and columns is. `lowered`
        returns the model in operators that have gradient rules.

        Raises:
            ModelError: `x` is too small for the model.
        """
        self._runner = runner
        self._x = x
        self._answer = score
        self._score = score.logit
        self._labels = labels
        self._lowered = lowered
        self._chosen: dict[str, Layer] = {}
        if not all(isinstance(dim, int) for dim in (runner.spec.shape or (None, None))[1:]):
            require_grids(self._model, self.shapes, x.shape)

    @property
    def _model(self) -> Model:
        return self._runner.model

    @functools.cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor: inferred, or if that fails, taken from a run."""
        fed = self._runner.feeds(self._model, self._x)
        known = model_shapes(self._model, {name: x.shape for name, x in fed.items()})
        tensors = self._model.index.tensors_between(self._runner.spec.name, self._score)
        unknown = [name for name in tensors if name not in known]
        read = self._runner.tiled(self._model, self._x, unknown, 1)
        arrays = {name: value for name, value in read.items() if isinstance(value, np.ndarray)}
        return known | {name: value.shape for name, value in arrays.items()}

    @functools.cached_property
    def held(self) -> int:
        """Bytes that a backward pass needs for all activations and their gradients, in float32."""
        return 2 * 4 * sum(map(prod, self.shapes.values()))

    @functools.cached_property
    def layers(self) -> list[Layer]:
        """Every layer with a grid, in order."""
        return grid_layers(self._model, self.shapes, self._runner.spec.name, self._score)

    @property
    def main_layers(self) -> list[Layer]:
        """See `subject.Structure`."""
        return main_layers(self._model, self._before_classifier)

    @functools.cached_property
    def auto_layers(self) -> list[Layer]:
        """See `subject.Structure`."""
        picture = self._runner.spec.name
        if self.finds_boxes:
            shape = self._x.shape
            necks = neck_layers(self._model, self.layers, picture, self._score, shape)
        else:
            necks = []
        return necks or [self._auto_layer()]

    @property
    def finds_boxes(self) -> bool:
        """See `subject.Structure`."""
        return BOXES in self._model.index.position

    def _auto_layer(self) -> Layer:
        choose = auto_layer if self.answer_map is None else coarsest_layer
        return choose(self._model, self._before_classifier)

    @functools.cached_property
    def _layouts(self) -> Mapping[str, Layout]:
        return find_layouts(self._model, self.shapes, self._runner.spec.name)

    def layer(self, name: str) -> Layer:
        """See `subject.Structure`.

        Raises:
            LayerError: there is no such layer, it has no grid, or it does not lead to the score.
        """
        if name not in self._chosen:
            self._chosen[name] = self._layer(name)
        return self._chosen[name]

    def _layer(self, name: str) -> Layer:
        if name == "auto":
            return self.auto_layers[0]
        tensor = tensor_of(self._model, name)
        found = next((layer for layer in self.layers if layer.tensor == tensor), None)
        if found is not None:
            return found
        instead = "" if self.layers else f" {_WITHOUT}"
        raise LayerError(
            f"The layer {name!r} {self._why_not(tensor)}{self._others(name)}.{instead}"
        )

    def warning(self, layer: Layer) -> str:
        """A warning about the layer that was chosen automatically; empty if there is none."""
        position = self._model.index.position
        later = [name for name in self._unplaced if position[name] > position[layer.tensor]]
        if not later:
            return ""
        return (
            f"After the layer {layer.tensor!r}, which was chosen automatically, are {len(later)} "
            "more layers with tokens whose place in the picture is not known, the last "
            f"{later[-1]!r}: the map shows an early stage; use occlusion or "
            "integrated_gradients, which need no layer."
        )

    @functools.cached_property
    def _unplaced(self) -> list[str]:
        picture = self._runner.spec.name
        return unplaced_sums(self._model, self.shapes, self._layouts, picture, self._score)

    def blocks(self) -> int:
        """See `Structure`."""
        return len(self._transformer.attention)

    def class_token(self) -> int:
        """See `Structure`."""
        return self._transformer.class_token()

    @functools.cached_property
    def _transformer(self) -> Transformer:
        model, picture = self._lowered(), self._runner.spec.name
        fed = {name: x.shape for name, x in self._runner.feeds(model, self._x).items()}
        return find_transformer(model, model_shapes(model, fed), picture, self._score)

    def classifier(self) -> Classifier:
        """See `Structure`.

        Raises:
            LayerError: there is none; the message names methods that the model allows.
        """
        return self._classifier

    @functools.cached_property
    def _classifier(self) -> Classifier:
        try:
            return find_classifier(self._model, self.shapes, self._score)
        except LayerError as error:
            raise LayerError(f"{error} {_WITH_LAYERS if self.layers else _WITHOUT}") from None

    @property
    def answer_shape(self) -> Shape:
        """The shape of the answer for one sample, (1, ...)."""
        return self.shapes.get(self._score, (1,))

    @functools.cached_property
    def answer_map(self) -> AnswerMap | None:
        """The answer, if it is known to have rows and columns; else None.

        Other answers of several axes may hold anything, such as the boxes of a detector.
        """
        shape = self.answer_shape
        is_empty = 0 in shape  # as of a crop beyond the border
        if is_empty or is_one_number_per_class(shape[1:]):
            return None
        labels, picture = self._labels(), self._runner.spec.name
        return find_answer_map(
            self._model,
            self._answer,
            shape,
            self._layouts.get(self._score),
            (picture, self._x.shape),
            0 if labels is None else labels.last + 1,
        )

    def class_axis(self) -> int | None:
        """The axis of the classes in an answer with rows and columns; None if it has none."""
        found = self.answer_map
        return found.channels if found is not None and found.kind == "classes" else None

    @functools.cached_property
    def _before_classifier(self) -> list[Layer]:
        """The layers, without those that already hold the map of the answer."""
        if self.answer_map is None:
            return self.layers
        return before_classifier(self._model, self.layers, self._score)

    def _why_not(self, tensor: str) -> str:
        picture = self._runner.spec.name
        if tensor not in self._model.index.tensors_between(picture, self._score):
            return "is not between the picture and the score"
        shape = self.shapes.get(tensor, "no shape")
        layout = self._layouts.get(tensor)
        if layout is not None and layout.axes in LAYOUTS and prod(layout.grid) <= 1:
            return f"has no spatial grid of more than one cell: its shape is {shape}"
        return f"has no rows and columns that can be found from its shape {shape}"

    def _others(self, name: str) -> str:
        return closest(name, [layer.tensor for layer in reversed(self.layers)])
