"""What a finished graph computes, and the names of its inputs and outputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from onnxplain.analysis.biases import Bias, find_biases
from onnxplain.analysis.layers import Layer
from onnxplain.analysis.transformer import Transformer, find_transformer
from onnxplain.execution.scoring import Scored
from onnxplain.execution.wants import Want
from onnxplain.formulas.namespace import Namespace
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape, model_shapes
from onnxplain.tensors import FloatArray, TensorSpec
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.paired import paired_name


class Wanting(Protocol):
    """What a method computes from the tensors that it wants, written for any array namespace."""

    @property
    def wants(self) -> Sequence[Want]:
        """The first arguments of the method's formulas, in this order."""


class Formula(Wanting, Protocol):
    """What a method of one pass computes."""

    def sums(self, xp: Namespace) -> Namespace:
        """The namespace in which `map` is computed."""

    def map(self, xp: Namespace, *wanted: Any) -> Any:
        """The map of one target at one layer, for a batch of samples, (N, ...)."""

    def report(self, xp: Namespace, *wanted: Any) -> Mapping[str, Any]:
        """Numbers about the map, (N,) each, by name."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a finished graph computes.

    Attributes:
        model: the model that takes the samples.
        lowered: the same model in operators that have gradient rules.
        spec: the input that is explained.
        shape: the shape of one sample, (1, ...).
        planes: the order of the input's axes that makes (N, channels, rows, columns); None if the
            input is no picture.
        layers: the layers that the formula reads.
        others: the shapes of the other inputs, for the smallest batch that the graph takes.
        batch: the batch size if the graph takes only that size, else None.
        class_weights: (classes, channels).
        cut: if given, the graph starts from the activation of this layer, not from the input.
        outputs: other tensors of the model that the graph also returns.
    """

    model: Model
    lowered: Model
    spec: TensorSpec
    shape: Shape
    planes: tuple[int, ...] | None
    scored: Scored
    formula: Wanting
    layers: Sequence[Layer]
    others: Mapping[str, Shape] = field(default_factory=dict)
    batch: int | None = None
    class_weights: FloatArray | None = None
    cut: TensorSpec | None = None
    outputs: Sequence[str] = ()

    @property
    def answer(self) -> str:
        """The tensor that scores are read from; it is the first output of the graph."""
        return self.scored.reading.tensor

    @property
    def sizes(self) -> Mapping[str, Shape]:
        """Shapes of all inputs, for the smallest batch that the graph takes."""
        return {self.spec.name: (self.batch or 1, *self.shape[1:]), **self.others}

    @property
    def targets(self) -> int:
        """The number of targets in the graph."""
        return self.scored.count

    @property
    def places(self) -> range:
        """Indices of the layers with a map; only 0 if the formula reads no layer."""
        return range(max(1, len(self.layers)))

    @functools.cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shapes of the lowered model's tensors, for the smallest batch that the graph takes."""
        return model_shapes(self.lowered, self.sizes)

    @functools.cached_property
    def biases(self) -> Sequence[Bias]:
        """The biases of the lowered model, for formulas that read them."""
        return find_biases(self.lowered, self.spec.name, self.answer)

    @functools.cached_property
    def transformer(self) -> Transformer:
        """The transformer blocks of the lowered model, for formulas that read them.

        Raises:
            LayerError: the model is no transformer that attends to all tokens of one grid.
        """
        return find_transformer(self.lowered, self.shapes, self.spec.name, self.answer)


def value_name(layer: int, target: int) -> str:
    """The name of the output with the map of a target at a layer."""
    return f"{PREFIX}values/{layer}/{target}"


def report_name(name: str, layer: int, target: int) -> str:
    """The name of the output with a reported number about that map."""
    return f"{PREFIX}report/{layer}/{target}/{name}"


def reference_name(plan: Plan, name: str) -> str:
    """The name of the input for a reference, a sample that the explained one is compared with."""
    return paired_name(name, plan.spec.name)
