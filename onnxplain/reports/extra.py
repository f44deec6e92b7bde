"""Libraries that only reports need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from onnxplain.errors import OptionError


def needed(module: str) -> ModuleType:
    """Import a module that the optional dependencies `report` provide.

    Raises:
        OptionError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise OptionError(
            f"A report needs {module.partition('.')[0]}, which is not installed: "
            "pip install 'onnxplain[report]'."
        ) from None
