"""The rules, one file per family, and the tables that are made of them.

Each rule is its definition; `fast` holds faster forms of some of them.
"""

import importlib
import pkgutil

from onnxplain.autodiff.rules.fast import LOW_MEMORY_OVERRIDES, OVERRIDES
from onnxplain.autodiff.table import DEFINITIONS

for _family in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_family.name)  # it enters its rules into DEFINITIONS

STANDARD = DEFINITIONS.overridden(OVERRIDES)
"""The true derivatives, by the fastest rule that applies."""

LOW_MEMORY = DEFINITIONS.overridden(LOW_MEMORY_OVERRIDES)
"""The same without a second copy of the weights: slower, most of all in depthwise convolutions."""
