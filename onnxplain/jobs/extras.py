"""Packages of the extra `jobs`, which only some jobs need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from onnxplain.errors import OptionError, limit_reached


def needed(module: str, purpose: str, extra: str = "jobs") -> ModuleType:
    """A module of a package that an extra installs.

    Raises:
        OptionError: it is not installed.
        ImportError: it cannot be loaded, because memory is limited.
    """
    try:
        return import_module(module)
    except ImportError as error:
        if limit_reached(error):
            raise
        package = module.split(".", maxsplit=1)[0]
        raise OptionError(f"{purpose} needs {package}: pip install 'onnxplain[{extra}]'.") from None
