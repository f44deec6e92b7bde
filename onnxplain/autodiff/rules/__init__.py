"""The rule tables, one file per family. Importing this package fills the registry."""

from onnxplain.autodiff.rules import (
    activation,
    attention,
    convolution,
    einsum,
    elementwise,
    indexing,
    linear,
    loss,
    normalization,
    pooling,
    quantization,
    reduction,
    resize,
    shape,
    slicing,
    spectral,
)

__all__ = [
    "activation",
    "attention",
    "convolution",
    "einsum",
    "elementwise",
    "indexing",
    "linear",
    "loss",
    "normalization",
    "pooling",
    "quantization",
    "reduction",
    "resize",
    "shape",
    "slicing",
    "spectral",
]
