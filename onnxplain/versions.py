"""Versions of all software that affects the results."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

from onnxplain.runtime.ort import onnxruntime

_PACKAGES = (
    "onnxplain",
    "onnx",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
)


@functools.cache
def versions() -> dict[str, str]:
    """Versions by name: of Python, of the ONNX Runtime in use, and of the installed packages.

    Packages that are not installed are left out.
    """
    found = {"python": platform.python_version(), "onnxruntime": onnxruntime().__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
