"""The number that the rows and columns of a model's input must be multiples of."""

from __future__ import annotations

from typing import Final

from onnxplain.model.model import Model
from onnxplain.model.shapes import infer_shapes
from onnxplain.tensors import TensorSpec

_CANDIDATES: Final = (1, 2, 4, 8, 16, 32, 64)
_LARGEST: Final = _CANDIDATES[-1]
_ODD: Final = (5, 7)
"""Rows and columns are these times a multiple of the largest candidate, plus one candidate."""


def size_multiple(model: Model, spec: TensorSpec, rows: int, columns: int) -> int:
    """The smallest power of two, up to 64, whose multiples all fit; 1 if no size is needed.

    `rows` and `columns` are axes of the input `spec`. Where a model halves its grid and joins
    enlarged grids with those before, as a U-Net or a feature pyramid does, other sizes contradict
    each other: then ONNX infers no shape there. Nothing is run. 1 also if the sizes are fixed, or
    if shapes cannot be inferred even for multiples of 64.
    """
    if spec.shape is None or any(isinstance(spec.shape[axis], int) for axis in (rows, columns)):
        return 1

    def known(unit: int) -> int:
        shape = [dim if isinstance(dim, int) else 1 for dim in spec.shape or ()]
        shape[rows], shape[columns] = (odd * _LARGEST + unit for odd in _ODD)
        shapes = infer_shapes(model.proto, {spec.name: tuple(shape)})
        return len(shapes)

    fitting = known(_LARGEST)
    return next(unit for unit in _CANDIDATES if known(unit) == fitting)
