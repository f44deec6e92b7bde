"""Every provider that is installed, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnxplain.errors import ProviderError
from onnxplain.runtime.backend import Device
from onnxplain.runtime.providers import (
    choose_backend,
    devices_of,
    known_names,
    package_of,
    short_name,
    use_failure,
)


@dataclass(frozen=True)
class Listed:
    """A provider.

    Attributes:
        name: as ONNX Runtime calls it.
        short: the name that is quick to write.
        package: that brings it as a plug-in; empty if it is part of ONNX Runtime.
        devices: that it can be asked to use.
        failure: why it cannot be used; empty if it can.
    """

    name: str
    short: str
    package: str
    devices: Sequence[Device]
    failure: str


def listed_providers() -> Iterator[Listed]:
    """Every provider, tried with a model of one node."""
    for name in known_names():
        package, devices, failure = package_of(name), list[Device](), ""
        try:
            backend = choose_backend(name)
            devices = devices_of(name) if backend.handle is not None else [backend.device]
            failure = use_failure(backend) or ""
        except ProviderError as error:
            failure = str(error)
        yield Listed(name, short_name(name), package, devices, failure)
