"""Execution providers: choose one and its device by name, and explain why it cannot be used."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import parser

from onnxplain.errors import OptionError, ProviderError, attempted
from onnxplain.runtime.backend import CPU, Backend, Device
from onnxplain.runtime.ort import onnxruntime, reason_of
from onnxplain.runtime.plugins import (
    Plugin,
    installed_plugins,
    plugin_devices,
    registered_names,
    registration_failure,
)
from onnxplain.runtime.profile import Profiler


class _Provider(NamedTuple):
    """What is known of a provider.

    `short` is also part of the name of the provider's shared library, if it has one. `memory` is
    that which holds its inputs. `types` are the types of its devices, the default first, and
    `device_option` is the provider's option that takes one of them, or a number.
    """

    short: str
    package: str | None = None
    memory: str = "cpu"
    types: tuple[str, ...] = ()
    device_option: str = ""


_BY_NUMBER, _BY_TYPE = "device_id", "device_type"

_PROVIDERS = {
    CPU: _Provider("cpu", types=("cpu",)),
    "CUDAExecutionProvider": _Provider(
        "cuda", "pip install 'onnxplain[gpu]'", "cuda", ("gpu",), _BY_NUMBER
    ),
    "TensorrtExecutionProvider": _Provider(
        "tensorrt", "pip install 'onnxplain[gpu]' tensorrt", "cuda", ("gpu",), _BY_NUMBER
    ),
    "OpenVINOExecutionProvider": _Provider(
        "openvino",
        "pip install onnxruntime-ep-openvino",
        types=("cpu", "gpu", "npu"),
        device_option=_BY_TYPE,
    ),
    "DmlExecutionProvider": _Provider(
        "directml", "pip install onnxruntime-directml", types=("gpu",), device_option=_BY_NUMBER
    ),
    "CoreMLExecutionProvider": _Provider("coreml"),
    "WebGpuExecutionProvider": _Provider("webgpu", "pip install onnxruntime-ep-webgpu"),
}

_AUTO = ("CUDAExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider")
"""Tried in this order by `auto`, before the CPU. TensorRT needs minutes to build an engine, and
OpenVINO, CoreML and WebGPU change numbers, so these are used only if the user names them."""

AUTO = "auto"


def choose_backend(
    wanted: str = AUTO,
    options: Mapping[str, object] | None = None,
    threads: int | None = None,
    profiler: Profiler | None = None,
) -> Backend:
    """What sessions are opened with.

    `wanted` is "auto", a short name such as "cuda", or any name that ONNX Runtime or an installed
    plug-in has; after a colon may follow the device, its number or its type: "openvino:gpu".
    `options` are those of the provider. `threads` is the most threads of all parallel runs.

    Raises:
        OptionError: the number of threads is not positive, or the device is not written well.
        ProviderError: the provider or the device is not there, its libraries cannot be loaded, or
            it refuses the options.
    """
    if threads is not None and threads < 1:
        raise OptionError(f"The number of threads must be at least 1, and is {threads}.")
    given = {str(key): str(value) for key, value in (options or {}).items()}
    name, colon, device = wanted.partition(":")
    if colon and (name.lower() == AUTO or not device):
        raise OptionError(
            f"The provider {_short(wanted)!r} is not written as NAME:DEVICE: give a name, and the "
            "number or the type of a device, such as cuda:1 or openvino:gpu."
        )
    found = _automatic() if name.lower() == AUTO else _named(name, device.lower())
    found = replace(found, options=given)
    if given and found.provider == CPU:
        raise ProviderError(
            f"{CPU} takes no options, such as {_short(next(iter(given)))!r}: name another "
            "provider, or leave the options out."
        )
    if given or colon or found.handle is not None:
        _require_usable(found)
    return replace(found, threads=threads, profiler=profiler)


def _automatic() -> Backend:
    """The first of `_AUTO` that can be used, else the CPU."""
    for name in _AUTO:
        found = attempted(_named, name, "")
        if isinstance(found, Backend) and (found.handle is None or use_failure(found) is None):
            return found
    return Backend()


def _named(name: str, device: str) -> Backend:
    full = full_name(name)
    if full in onnxruntime().get_available_providers():
        reason = load_failure(full)
        if reason is not None:
            raise ProviderError(f"The provider {full} cannot be loaded: {reason}")
        return _part_of_onnx_runtime(full, device)
    plugin = _plugin_of(full)
    reason = registration_failure(plugin) if plugin else None
    if reason is not None:
        raise ProviderError(f"The plug-in {full} cannot be loaded: {_short(reason)}.")
    if plugin or full in registered_names():
        return _plugged_in(full, device)
    raise _unknown(name, full)


def _unknown(wanted: str, full: str) -> ProviderError:
    ort = onnxruntime()
    listed = ", ".join(known_names())
    package = _PROVIDERS[full].package if full in _PROVIDERS else None
    hint = f"; `{package}` installs it" if package else ""
    return ProviderError(
        f"The installed ONNX Runtime {ort.__version__} has no provider {_short(wanted)!r} "
        f"(it has {listed}){hint}."
    )


def known_names() -> list[str]:
    """Every provider that is part of ONNX Runtime, then those of plug-ins, by full name."""
    names = [*onnxruntime().get_available_providers(), *_plugged_names()]
    return list(dict.fromkeys(names))


def _plugged_names() -> list[str]:
    of_packages = (name for plugin in installed_plugins() for name in plugin.names)
    return [*of_packages, *registered_names()]


def _plugin_of(name: str) -> Plugin | None:
    """The plug-in that has a provider. One that is broken is known by the short name alone."""
    names = {name, short_name(name)}
    return next((plugin for plugin in installed_plugins() if names & {*plugin.names}), None)


def package_of(name: str) -> str:
    """The package of a plug-in; empty for a provider that is part of ONNX Runtime."""
    plugin = _plugin_of(name)
    return plugin.package if plugin and name not in onnxruntime().get_available_providers() else ""


def _part_of_onnx_runtime(name: str, device: str) -> Backend:
    facts = _PROVIDERS.get(name, _Provider(""))
    default = facts.types[0] if facts.types else ""
    plain = Backend(name, Device(default), facts.memory)
    if not device or (device == "0" and facts.device_option != _BY_NUMBER):
        return plain
    if device.isdecimal() and facts.device_option == _BY_NUMBER:
        chosen = Device(default, int(device))
        return replace(plain, device=chosen, choosing={_BY_NUMBER: device})
    if device in facts.types:
        choosing = {_BY_TYPE: device.upper()} if facts.device_option == _BY_TYPE else {}
        return replace(plain, device=Device(device), choosing=choosing)
    numbers = ["a number"] if facts.device_option == _BY_NUMBER else []
    takes = ", ".join([*facts.types, *numbers])
    raise ProviderError(
        f"{name} has no device {_short(device)!r}: "
        + (f"it takes {takes}." if takes else "give its name without a device.")
    )


def _plugged_in(name: str, device: str) -> Backend:
    handles = plugin_devices(name)
    devices = devices_of(name)
    if not devices:
        raise ProviderError(
            f"The plug-in {name} finds no device on this machine that it can use: install the "
            "driver of the device, or name another provider."
        )
    found = next((one for one in devices if device in ("", str(one.index), one.type)), None)
    if found is None:
        listed = ", ".join(map(str, devices))
        raise ProviderError(f"{name} has no device {_short(device)!r}: it has {listed}.")
    return Backend(name, found, handle=handles[found.index])


def devices_of(name: str) -> list[Device]:
    """The devices of a plug-in whose library is registered."""
    return [
        Device(one.device.type.name.lower(), i, one.device.vendor or one.ep_vendor)
        for i, one in enumerate(plugin_devices(name))
    ]


def _require_usable(backend: Backend) -> None:
    """Raise a ProviderError if no session opens, which says whether the options are the reason."""
    reason = use_failure(backend)
    if reason is None:
        return
    refused = backend.options and use_failure(replace(backend, options={})) is None
    if refused:
        given = ", ".join(f"{key}={value}" for key, value in backend.options.items())
        raise ProviderError(
            f"{backend.provider} refuses the options {_short(given)}: {_short(reason)}."
        )
    raise ProviderError(
        f"{backend.provider} cannot use its device {backend.device}: {_short(reason)}."
    )


_TRIAL = """<ir_version: 8, opset_import: ["": 13]>
agraph (float[1,4] x) => (float[1,4] y) { y = Relu(x) }"""
_SAMPLE = np.ones((1, 4), np.float32)


def use_failure(backend: Backend) -> str | None:
    """Why a provider cannot run a small model; None if it can."""
    ort = onnxruntime()
    model = parser.parse_model(_TRIAL)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = backend.open(options, model.SerializeToString(), fall_back=False)
        if session.get_providers()[0] != backend.provider:
            return f"ONNX Runtime uses {session.get_providers()[0]} instead"
        session.run(None, {"x": _SAMPLE})
    except Exception as error:
        return reason_of(error)
    return None


_LONGEST = 180


def _short(text: str) -> str:
    """A part of a message that may be long, without its middle."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"


def short_name(name: str) -> str:
    """The name of a provider in lower case, without "ExecutionProvider"."""
    if name in _PROVIDERS:
        return _PROVIDERS[name].short
    return name.lower().removesuffix(_SUFFIX)


_SUFFIX = "executionprovider"


def full_name(wanted: str) -> str:
    """ONNX Runtime's name of a provider that is named in any way; else the name itself."""
    short = {provider.short: full for full, provider in _PROVIDERS.items()}
    if wanted.lower() in short:
        return short[wanted.lower()]
    names: Iterable[str] = [*onnxruntime().get_all_providers(), *_plugged_names()]
    known = {name.lower(): name for name in names}
    known |= {name.removesuffix(_SUFFIX): full for name, full in known.items()}
    return known.get(wanted.lower(), wanted)


@functools.cache
def load_failure(provider: str) -> str | None:
    """Why a provider's libraries cannot be loaded; None if they can, or if it needs none.

    This is checked here because ONNX Runtime only prints a warning and uses the CPU instead.
    """
    if provider not in _PROVIDERS:
        return None
    ort, facts = onnxruntime(), _PROVIDERS[provider]
    if facts.memory == "cuda" and hasattr(ort, "preload_dlls"):
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
    return _driver_failure() if facts.memory == "cuda" else None


def _driver_failure() -> str | None:
    """Why no NVIDIA GPU can be used, or None; CUDA libraries also load on a machine without one."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        return f"{error}; install the driver of the NVIDIA GPU."
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return None if count.value else f"the NVIDIA driver finds no GPU (its error is {status})."
