"""Execution providers that are packages of their own, which ONNX Runtime loads as plug-ins.

Such a package is called `onnxruntime-ep-NAME`. Its module says where its library is.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from onnxplain.runtime.ort import onnxruntime, reason_of

_PREFIX = "onnxruntime_ep_"
_FIRST_VERSION = "1.23"


@dataclass(frozen=True)
class Plugin:
    """An installed package.

    Attributes:
        package: its name for pip.
        names: of its providers; where they are not known, the end of the package's name.
        library: the path of its library.
        failure: why it is not known where its library is; empty if it is.
    """

    package: str
    names: tuple[str, ...]
    library: str = ""
    failure: str = ""


@functools.cache
def installed_plugins() -> Sequence[Plugin]:
    """The plug-ins that are installed, also those that cannot be loaded, by name."""
    found = (module.name for module in pkgutil.iter_modules())
    return [_described(name) for name in sorted(found) if name.startswith(_PREFIX)]


def _described(module_name: str) -> Plugin:
    package = module_name.replace("_", "-")
    try:
        module = import_module(module_name)
        several = getattr(module, "get_ep_names", None)
        names = several() if several else [module.get_ep_name()]
        return Plugin(package, tuple(names), str(module.get_library_path()))
    except Exception as error:  # the code of the package may raise anything
        guessed = module_name.removeprefix(_PREFIX)
        return Plugin(package, (guessed,), failure=f"the package {package}: {reason_of(error)}")


@functools.cache
def registration_failure(plugin: Plugin) -> str | None:
    """Why a plug-in cannot be loaded into ONNX Runtime; None if it is loaded now.

    It is loaded once in a process, also if other code than this has loaded it before.
    """
    ort = onnxruntime()
    if plugin.failure:
        return plugin.failure
    if not hasattr(ort, "register_execution_provider_library"):
        return (
            f"ONNX Runtime {ort.__version__} has no plug-ins; install version {_FIRST_VERSION} or "
            "newer"
        )
    if any(map(plugin_devices, plugin.names)):
        return None
    try:
        ort.register_execution_provider_library(plugin.names[0], plugin.library)
    except Exception as error:
        return None if "already registered" in str(error) else reason_of(error)
    return None


def plugin_devices(name: str) -> list[Any]:
    """ONNX Runtime's devices of a provider, as far as its library is registered."""
    ort = onnxruntime()
    listed = ort.get_ep_devices() if hasattr(ort, "get_ep_devices") else []
    return [device for device in listed if device.ep_name == name]


def registered_names() -> list[str]:
    """The names of the providers that have a device in ONNX Runtime now."""
    ort = onnxruntime()
    listed = ort.get_ep_devices() if hasattr(ort, "get_ep_devices") else []
    return list(dict.fromkeys(device.ep_name for device in listed))
