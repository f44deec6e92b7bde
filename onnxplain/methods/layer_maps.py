"""Methods with a map for each of the layers that they read."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

from onnxplain.analysis.layers import Layer
from onnxplain.errors import LayerError
from onnxplain.execution.subject import Structure
from onnxplain.formulas.namespace import Namespace, interpolation_sizes
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import LayerMethod, Maps
from onnxplain.methods.options import Fuse, Option
from onnxplain.tensors import FloatArray

ALL = "all"
AUTO = "auto"
CELLS = (-2, -1)


@dataclass(frozen=True, kw_only=True)
class LayerMapsMethod(LayerMethod):
    """A method with one map for each layer.

    `layer` may name several layers, with commas between them or as a list, or "all": every layer
    that matters and that every path from the picture to the score passes through. The values are
    then (layers, rows, columns), each map enlarged bilinearly to the largest grid and not rescaled.
    The heatmap is their mean, maximum or product, as `fuse` says, after each was scaled to [0, 1]
    by its own smallest and largest value, as in pytorch-grad-cam and torch-cam. The product is that
    of RefineCAM ("How to Evaluate and Refine your CAM", 2026, arXiv:2605.14641).

    For a detector, "auto" means all outputs of the feature pyramid. The values are then one map on
    the largest of their grids: the sum of the maps, the value of each cell being spread over the
    cells that it covers.
    """

    fuse: Annotated[
        Fuse, Option("HOW", "Fuse the maps of several layers by their mean, max or product.")
    ] = "mean"

    def layers(self, structure: Structure) -> Sequence[Layer]:
        """The layers that the user named.

        Raises:
            LayerError: there is no such layer, it has no grid, or "all" is one of several names.
        """
        if self.layer == ALL:
            return structure.main_layers
        if self.layer == AUTO:
            return structure.auto_layers
        names = [name.strip() for name in self.layer.split(",")]
        try:  # the name of a layer may contain a comma
            return [structure.layer(self.layer)]
        except LayerError:
            if len(names) == 1 or "" in names:
                raise
            if ALL in names:
                raise LayerError(
                    f"The name {ALL!r} cannot be used with other names, as in {self.layer!r}: "
                    "name single layers, or only all."
                ) from None
            return list({found.tensor: found for found in map(structure.layer, names)}.values())

    def joined(
        self, maps: Sequence[Maps], layers: Sequence[Layer], shared: Mapping[str, Any]
    ) -> Maps:
        """One result from the maps of each layer; `shared` diagnostics are reported once."""
        if len(maps) == 1:
            return super().joined(maps, layers, shared)
        names = [layer.tensor for layer in layers]
        if any(len(layer.grid) != 2 for layer in layers):
            raise LayerError(
                f"Maps of several layers need rows and columns, which {names[0]!r} or another has "
                "not: name one layer."
            )
        values = self.stacked(NUMPY, [one.values for one in maps])
        each = [
            _of_all_layers(names, [one.about(target) for one in maps])
            for target in range(len(values))
        ]
        if self.layer == AUTO:
            for about, own in zip(each, values, strict=True):
                if own.any():  # a box needs not depend on every layer
                    about.pop("warnings", None)
        return Maps(values, shared, each)

    def stacked(self, xp: Namespace, maps: Sequence[Any]) -> Any:
        """The values from the maps of several layers, (N, rows, columns) each; see the class."""
        sizes = [interpolation_sizes(one.shape) for one in maps]
        rows, columns = map(max, zip(*sizes, strict=True))
        enlarged = [xp.resize(one, (rows, columns)) for one in maps]
        if self.layer != AUTO:
            return xp.stack(enlarged)
        shares = [prod(size) / (rows * columns) for size in sizes]
        parts = [one * share for one, share in zip(enlarged, shares, strict=True)]
        return sum(parts[1:], start=parts[0])

    def heats(self, xp: Namespace, values: Any, spatial: tuple[int, ...]) -> Any:
        """The maps, or the fused maps of several layers, (N, rows, columns)."""
        if len(values.shape) in (3, 1 + len(spatial)):
            return values
        least, largest = (pick(values, axis=CELLS, keepdims=True) for pick in (xp.min, xp.max))
        span = largest - least
        scaled = (values - least) / xp.where(span > 0, span, 1.0)
        return _FUSED[self.fuse](xp, scaled)

    def sheet(self, values: FloatArray) -> FloatArray | None:
        """The map of every layer, if `layer` is "all"; else None."""
        return values if self.layer == ALL and values.ndim == 3 else None


def _product(xp: Namespace, maps: Any) -> Any:
    """The product of the maps (N, layers, rows, columns)."""
    return functools.reduce(operator.mul, [xp.take(maps, i) for i in range(maps.shape[1])])


_FUSED: Mapping[str, Callable[[Namespace, Any], Any]] = {
    "mean": lambda xp, maps: xp.mean(maps, axis=-3),
    "max": lambda xp, maps: xp.max(maps, axis=-3),
    "product": _product,
}


def one_of_each(xp: Namespace, which: Any, count: int) -> Callable[[Any], Any]:
    """One-hot weights (samples, count): sample i has 1 at the index `which[i]`, else 0."""
    return lambda part: xp.one_hot(xp.rows(which, part), count)


def _of_all_layers(names: Sequence[str], layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The diagnostics of one target's maps; warnings name their layer."""
    warnings = [
        f"At {name!r}: {sentence}"
        for name, layer in zip(names, layers, strict=True)
        for sentence in layer.pop("warnings", ())
    ]
    diagnostics: dict[str, Any] = {"layers": dict(zip(names, layers, strict=True))}
    return {**diagnostics, "warnings": warnings} if warnings else diagnostics
