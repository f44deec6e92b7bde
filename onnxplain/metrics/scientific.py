"""SciPy, which some metrics need and the package does not install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from onnxplain.errors import OptionError


def scipy_module(name: str, metric: str) -> ModuleType:
    """A module of SciPy, such as "sparse", for a metric.

    Raises:
        OptionError: SciPy is not installed.
    """
    try:
        return import_module(f"scipy.{name}")
    except ImportError:
        raise OptionError(
            f"{metric} needs SciPy: pip install 'onnxplain[metrics]', or use deletion or insertion."
        ) from None
