"""The rules, one file per family, and the tables that are made of them.

Each rule is its definition; `fast` holds faster forms of some of them.
"""

from onnxplain.autodiff.rules import (  # noqa: F401 - enter their rules into DEFINITIONS
    activation,
    attention,
    control_flow,
    convolution,
    deformable,
    einsum,
    elementwise,
    indexing,
    linear,
    loss,
    normalization,
    pooling,
    quantization,
    reduction,
    regions,
    resize,
    sampling,
    shape,
    slicing,
    spectral,
)
from onnxplain.autodiff.rules.fast import LOW_MEMORY_OVERRIDES, OVERRIDES
from onnxplain.autodiff.table import DEFINITIONS

STANDARD = DEFINITIONS.overridden(OVERRIDES)
"""The true derivatives, by the fastest rule that applies."""

LOW_MEMORY = DEFINITIONS.overridden(LOW_MEMORY_OVERRIDES)
"""The same without a second copy of the weights: slower, most of all in depthwise convolutions."""
