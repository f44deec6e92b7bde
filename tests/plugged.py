"""A plug-in provider that is installed, and an ONNX Runtime that loads it; the CPU computes."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from onnxplain.runtime import plugins
from onnxplain.runtime.ort import onnxruntime as installed

CPU, ABACUS = "CPUExecutionProvider", "AbacusExecutionProvider"
MODULE = f"""
def get_library_path():
    return __file__

def get_ep_name():
    return "{ABACUS}"
"""


class PretendedOrt:
    """ONNX Runtime, with one more provider whose library has `devices`: a type and a vendor each.

    The provider refuses the option `beads`, and devices of the vendor Broken.
    """

    def __init__(self, *devices: tuple[str, str]) -> None:
        self.registered: list[tuple[str, str]] = []
        self.opened: list[Any] = []
        self._devices = [
            SimpleNamespace(
                ep_name=ABACUS,
                ep_vendor="Abaci",
                device=SimpleNamespace(type=SimpleNamespace(name=kind), vendor=vendor),
            )
            for kind, vendor in devices
        ]
        outer = self

        class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
            used: Sequence[Any] = ()
            given: dict[str, str] = {}  # noqa: RUF012

            def add_provider_for_devices(self, devices: Sequence[Any], given: Any) -> None:
                self.used, self.given = devices, given

        class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
            def __init__(self, model: bytes, options: Options, **more: Any) -> None:
                self.options = options
                if "beads" in options.given:
                    raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Unknown option: beads")
                if any(one.device.vendor == "Broken" for one in options.used):
                    raise RuntimeError("[ONNXRuntimeError] : 11 : EP_FAIL : a rod is bent")
                providers = [CPU] if options.used else more["providers"]
                super().__init__(model, options, providers=providers)
                outer.opened.append(self)

            def get_providers(self) -> list[str]:
                return [*(one.ep_name for one in self.options.used), CPU]

        self.SessionOptions, self.InferenceSession = Options, Session

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.registered.append((name, path))

    def get_ep_devices(self) -> list[Any]:
        return self._devices if self.registered else []

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)


def forget() -> None:
    """Look again for ONNX Runtime and for plug-ins."""
    for found in (installed, plugins.installed_plugins, plugins.registration_failure):
        found.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, ort: Any, module: str = MODULE) -> None:
    """Install the package and `ort` until the end of the test, which must call `forget` then."""
    package = folder / "site" / "onnxruntime_ep_abacus"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(module)
    monkeypatch.syspath_prepend(package.parent)
    # Other plug-ins may be installed where the tests run.
    only = list(pkgutil.iter_modules([str(package.parent)]))
    monkeypatch.setattr(plugins, "pkgutil", SimpleNamespace(iter_modules=lambda: only))
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", ort)
    forget()
