"""The places of an array that is its own picture: positions along one axis or several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxplain.errors import MapError
from onnxplain.images import resample
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True)
class Places:
    """Places of an array, all of which the model saw; as `geometry.Placement`, of any rank."""

    sizes: tuple[int, ...]

    def on_seen(self, grid: Array) -> FloatArray:
        """Enlarge a grid over the array, linearly with half-pixel centers.

        Raises:
            MapError: the grid has another rank.
        """
        if grid.ndim != len(self.sizes):
            raise MapError(
                f"The map has the shape {grid.shape}, and the array {self.sizes} places, on which "
                "it cannot be laid: choose another layer, or take its values from "
                "Explainer.attribute."
            )
        enlarged = np.array(grid, np.float32)
        for axis, (cells, size) in enumerate(zip(grid.shape, self.sizes, strict=True)):
            if cells != size:
                centers = (np.arange(size) + 0.5) * cells / size
                enlarged = resample.linear(cells, centers).apply(enlarged, axis)
        return enlarged

    def on_canvas(self, seen: FloatArray) -> FloatArray:
        """The map itself: all places are seen."""
        return seen
