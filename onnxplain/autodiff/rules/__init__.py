"""The rule tables, one file per family. Importing this package fills the registry."""

from onnxplain.autodiff.rules import (
    activation,
    einsum,
    elementwise,
    indexing,
    linear,
    loss,
    normalization,
    reduction,
    shape,
    slicing,
    spectral,
)

__all__ = [
    "activation",
    "einsum",
    "elementwise",
    "indexing",
    "linear",
    "loss",
    "normalization",
    "reduction",
    "shape",
    "slicing",
    "spectral",
]
