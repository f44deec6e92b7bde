"""What a file takes and draws on: samples in the form of the model's input, or pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto, ValueInfoProto, helper

from onnxplain.errors import LayerError
from onnxplain.explainer.planned import Planned
from onnxplain.exporting.overlay import overlay_nodes
from onnxplain.exporting.parts import INPUT, Names, Part
from onnxplain.exporting.picture_heat import (
    Scaled,
    heatmap_nodes,
    picture_heatmap_nodes,
    seen_heat_nodes,
)
from onnxplain.exporting.picture_input import PictureInput, picture_input
from onnxplain.exporting.placement_nodes import GraphPlacement
from onnxplain.formulas.graph_namespace import GraphArray
from onnxplain.images.preprocess import Preprocess
from onnxplain.tensors import TensorSpec
from onnxplain.transforms.builder import Builder

BATCH = "batch"
"""The name of the batch axis in a file that takes any number of samples."""


Draw = Callable[[Part, GraphArray, gs.Tensor | None, Names], None]
"""Adds the heatmap and the status of maps (N, rows, columns) as outputs of the file.

The third argument, int64 (N), is the status of samples of which no map means anything, and else
`OK`; None if it always is.
"""


@dataclass(frozen=True, eq=False)
class Entered:
    """An explained input whose nodes were added: how its map is drawn, and what it shows.

    `placement` is where the picture is in the model's input; None if it has no rows and columns.
    """

    draw: Draw
    placement: GraphPlacement | None


class Frame(Protocol):
    """The explained input of a file, and how its map is drawn."""

    @property
    def rows(self) -> int | str:
        """The size of the batch axis, or its name."""

    @property
    def places(self) -> tuple[int | str, ...]:
        """The sizes of a heatmap, or their names."""

    @property
    def input(self) -> ValueInfoProto:
        """The declaration of the explained input."""

    def enter(self, part: Part, kind: np.dtype[Any]) -> Entered:
        """Add nodes from this input to `INPUT`, of type `kind`."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples (N, ...) in the form of the model's input `own`; heatmaps have its places."""

    planned: Planned
    own: TensorSpec

    @property
    def rows(self) -> int | str:
        """See `Frame`."""
        return self.planned.plan.batch or BATCH

    @property
    def places(self) -> tuple[int, ...]:
        """See `Frame`."""
        return tuple(self.planned.scene.places)

    @property
    def input(self) -> ValueInfoProto:
        """See `Frame`."""
        kind = helper.np_dtype_to_tensor_dtype(self.own.dtype)
        shape = [self.rows, *self.planned.plan.shape[1:]]
        return helper.make_tensor_value_info(self.own.name, kind, shape)

    def enter(self, part: Part, kind: np.dtype[Any]) -> Entered:
        """See `Frame`."""
        part.name(part.g.Cast(part.read(self.own.name), to=kind.type), INPUT)
        match self.places:
            case (rows, columns):
                return Entered(self._draw, GraphPlacement.of_input((rows, columns)))
        return Entered(self._draw, None)

    def _draw(self, part: Part, heat: GraphArray, status: gs.Tensor | None, names: Names) -> None:
        """See `Draw`.

        Raises:
            LayerError: the map has other axes than the places of the input.
        """
        g, places = part.g, self.places
        if len(heat.dims) != 1 + len(places):
            raise LayerError(
                f"The map has {len(heat.dims) - 1} axes and the input has {len(places)} with "
                "places, so it cannot be laid on it: choose another layer."
            )
        shown = _unless(g, heatmap_nodes(g, heat, places, _has_zero(self.planned)), status)
        heatmap = shown.heat
        if len(places) != 2:
            heatmap = g.Reshape(heatmap, np.array([-1, *places]))
        part.output(names.heatmap, heatmap, (self.rows, *places), np.float32)
        part.output(names.status, shown.status, (self.rows,), np.int64)


@dataclass(frozen=True, eq=False)
class Pictures:
    """One picture of any size, uint8 (H, W, 3), RGB; its heatmap has the picture's pixels.

    `name` is the name of the input.
    """

    planned: Planned
    preprocess: Preprocess
    name: str
    with_overlay: bool

    rows = 1
    places = "height", "width"

    @property
    def input(self) -> ValueInfoProto:
        """See `Frame`."""
        return helper.make_tensor_value_info(self.name, TensorProto.UINT8, [*self.places, 3])

    def enter(self, part: Part, kind: np.dtype[Any]) -> Entered:
        """See `Frame`."""
        made = picture_input(part.g, self.preprocess, self.name)
        part.name(part.g.Cast(made.tensor, to=kind.type), INPUT)
        return Entered(functools.partial(self._draw, made), made.placement)

    def _draw(
        self,
        made: PictureInput,
        part: Part,
        heat: GraphArray,
        status: gs.Tensor | None,
        names: Names,
    ) -> None:
        """See `Draw`."""
        g, where = part.g, made.placement
        seen = _unless(g, seen_heat_nodes(g, heat, where, _has_zero(self.planned)), status)
        heatmap = picture_heatmap_nodes(g, seen, where)
        part.output(names.heatmap, heatmap, (1, *self.places), np.float32)
        part.output(names.status, seen.status, (1,), np.int64)
        if self.with_overlay:
            drawn = overlay_nodes(g, made.picture, seen, where)
            part.output(names.overlay, drawn, (*self.places, 3), np.uint8)


def _has_zero(planned: Planned) -> bool:
    return not planned.method.values_are_scores


def _unless(g: Builder, scaled: Scaled, status: gs.Tensor | None) -> Scaled:
    """The maps of samples of which a map means something; others are 0."""
    return scaled if status is None else scaled.unless(g, status)
