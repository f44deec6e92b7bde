"""Execution providers: which are asked for, which can be loaded, and why not."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import sys
from pathlib import Path

from onnxplain.errors import ProviderError
from onnxplain.runtime.ort import onnxruntime

_CPU = "CPUExecutionProvider"

_SHORT = {
    "cpu": _CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}

_AUTO = ("CUDAExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider")
"""Tried in this order by `auto`, before the CPU. TensorRT builds an engine for minutes, OpenVINO
and CoreML change numbers: those run when asked for."""

_LIBRARIES = {
    "CUDAExecutionProvider": "onnxruntime_providers_cuda",
    "TensorrtExecutionProvider": "onnxruntime_providers_tensorrt",
    "OpenVINOExecutionProvider": "onnxruntime_providers_openvino",
}

_PACKAGES = {
    "CUDAExecutionProvider": "pip install 'onnxplain[gpu]'",
    "TensorrtExecutionProvider": "pip install 'onnxplain[gpu]' tensorrt",
    "OpenVINOExecutionProvider": "pip install onnxruntime-openvino",
    "DmlExecutionProvider": "pip install onnxruntime-directml",
}

_DEVICES = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
}
"""Where I/O binding puts tensors; every other provider takes them from the CPU."""


def device_of(provider: str) -> str:
    """The memory, "cuda" or "cpu", that a provider reads its inputs from."""
    return _DEVICES.get(provider, "cpu")


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
    name = _SHORT.get(wanted.lower()) or _full_name(wanted)
    if name not in available:
        listed = ", ".join(available)
        hint = f"; `{_PACKAGES[name]}` brings it" if name in _PACKAGES else ""
        raise ProviderError(
            f"The installed ONNX Runtime {ort.__version__} has no provider {wanted!r} "
            f"(it has {listed}){hint}."
        )
    reason = load_failure(name)
    if reason is not None:
        raise ProviderError(f"The provider {name} cannot be loaded: {reason}")
    return list(dict.fromkeys([name, _CPU]))


def _full_name(wanted: str) -> str:
    known = {name.lower(): name for name in onnxruntime().get_all_providers()}
    lowered = wanted.lower()
    return known.get(lowered) or known.get(lowered + "executionprovider") or wanted


@functools.cache
def load_failure(provider: str) -> str | None:
    """Why a provider's libraries cannot be loaded; None if they can, or if it needs none.

    ONNX Runtime itself prints a warning and goes on with the CPU.
    """
    ort = onnxruntime()
    stem = _LIBRARIES.get(provider)
    if stem is None:
        return None
    if device_of(provider) == "cuda" and hasattr(ort, "preload_dlls"):
        # Finds the CUDA libraries that pip installed, and prints what it does not find.
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls(directory="")
    folder = Path(ort.__file__).parent / "capi"
    library = next((p for p in folder.glob(f"*{stem}.*") if p.suffix in (".so", ".dll")), None)
    if library is None:
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        package = _PACKAGES[provider]
        return f"{error}; `{package}` installs what it needs, beside the GPU's driver."
    return _driver_failure() if device_of(provider) == "cuda" else None


def _driver_failure() -> str | None:
    """Why there is no NVIDIA GPU to be used: its libraries load on a machine without one, too."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        return f"{error}; install the driver of the NVIDIA GPU."
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return None if count.value else f"the NVIDIA driver finds no GPU (its error is {status})."
