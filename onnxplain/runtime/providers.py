"""Execution providers: choose them by name, and explain why one cannot be loaded."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

from onnxplain.errors import ProviderError
from onnxplain.runtime.ort import onnxruntime


class _Provider(NamedTuple):
    """A provider's short name, how to install it, and the device whose memory holds its inputs.

    The short name is also part of the name of the provider's shared library, if it has one.
    """

    short: str
    package: str | None = None
    device: str = "cpu"


_CPU = "CPUExecutionProvider"

_PROVIDERS = {
    _CPU: _Provider("cpu"),
    "CUDAExecutionProvider": _Provider("cuda", "pip install 'onnxplain[gpu]'", "cuda"),
    "TensorrtExecutionProvider": _Provider(
        "tensorrt", "pip install 'onnxplain[gpu]' tensorrt", "cuda"
    ),
    "OpenVINOExecutionProvider": _Provider("openvino", "pip install onnxruntime-openvino"),
    "DmlExecutionProvider": _Provider("directml", "pip install onnxruntime-directml"),
    "CoreMLExecutionProvider": _Provider("coreml"),
}

_AUTO = ("CUDAExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider")
"""Tried in this order by `auto`, before the CPU. TensorRT needs minutes to build an engine, and
OpenVINO and CoreML change numbers, so these are used only if the user names them."""


_MOST_AT_ONCE = 16
"""Limit of parallel runs, because each needs its own memory; more cores speed up all runs."""


def device_of(provider: str) -> str:
    """The device, "cuda" or "cpu", whose memory a provider reads its inputs from."""
    return _PROVIDERS[provider].device if provider in _PROVIDERS else "cpu"


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def runs_at_once(provider: str) -> int:
    """The best number of parallel runs of different samples on a provider.

    On a CPU it is one per core, because threads that share a run wait for each other after every
    node. Measured on two cores, plain runs of five classifiers took 0.71 to 0.91 of the time of
    sequential runs that use both cores, and no batch was more than 3 % faster.
    """
    return min(cores(), _MOST_AT_ONCE) if provider == _CPU else 1


def choose_providers(wanted: str) -> list[str]:
    """Providers to open a session with, the preferred one first.

    `wanted` is "auto", a short name such as "cuda", or any name that ONNX Runtime lists.

    Raises:
        ProviderError: this ONNX Runtime lacks the provider, or its libraries cannot be loaded.
    """
    ort = onnxruntime()
    available = ort.get_available_providers()
    if wanted == "auto":
        first = next((p for p in _AUTO if p in available and load_failure(p) is None), _CPU)
        return list(dict.fromkeys([first, _CPU]))
    name = _full_name(wanted)
    if name not in available:
        listed = ", ".join(available)
        package = _PROVIDERS[name].package if name in _PROVIDERS else None
        hint = f"; `{package}` installs it" if package else ""
        raise ProviderError(
            f"The installed ONNX Runtime {ort.__version__} has no provider {wanted!r} "
            f"(it has {listed}){hint}."
        )
    reason = load_failure(name)
    if reason is not None:
        raise ProviderError(f"The provider {name} cannot be loaded: {reason}")
    return list(dict.fromkeys([name, _CPU]))


def _full_name(wanted: str) -> str:
    short = {provider.short: full for full, provider in _PROVIDERS.items()}
    if wanted.lower() in short:
        return short[wanted.lower()]
    known: dict[str, str] = {name.lower(): name for name in onnxruntime().get_all_providers()}
    known |= {name.removesuffix("executionprovider"): full for name, full in known.items()}
    return known.get(wanted.lower(), wanted)


@functools.cache
def load_failure(provider: str) -> str | None:
    """Why a provider's libraries cannot be loaded; None if they can, or if it needs none.

    This is checked here because ONNX Runtime only prints a warning and uses the CPU instead.
    """
    if provider not in _PROVIDERS:
        return None
    ort, facts = onnxruntime(), _PROVIDERS[provider]
    if facts.device == "cuda" and hasattr(ort, "preload_dlls"):
        # This finds the CUDA libraries that pip installed, and prints the missing ones.
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls(directory="")
    found = (Path(ort.__file__).parent / "capi").glob(f"*onnxruntime_providers_{facts.short}.*")
    library = next((path for path in found if path.suffix in (".so", ".dll")), None)
    if library is None:
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{error}; `{facts.package}` installs what it needs, except the GPU's driver."
    return _driver_failure() if facts.device == "cuda" else None


def _driver_failure() -> str | None:
    """Why no NVIDIA GPU can be used, or None; CUDA libraries also load on a machine without one."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        return f"{error}; install the driver of the NVIDIA GPU."
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return None if count.value else f"the NVIDIA driver finds no GPU (its error is {status})."
