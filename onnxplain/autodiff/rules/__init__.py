"""The gradient rules, one module per family of operators, and the tables of rules.

Each rule is written as its definition; `fast` has faster forms of some of them.
"""

import importlib
import pkgutil

from onnxplain.autodiff.rules.fast import LOW_MEMORY_OVERRIDES, OVERRIDES
from onnxplain.autodiff.table import DEFINITIONS

for _family in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_family.name)  # it adds its rules to DEFINITIONS

STANDARD = DEFINITIONS.overridden(OVERRIDES)
"""The true derivatives, by the fastest rule that applies."""

LOW_MEMORY = DEFINITIONS.overridden(LOW_MEMORY_OVERRIDES)
"""The same without a second copy of the weights: slower, especially depthwise convolutions."""
