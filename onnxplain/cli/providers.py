"""`onnxplain providers`: what models can run on here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from onnxplain.cli.console import echo_json
from onnxplain.cli.parameters import AsJson
from onnxplain.cli.tables import print_table
from onnxplain.runtime.backend import Device
from onnxplain.runtime.listing import Listed, listed_providers

_HEADINGS = "provider", "short name", "device", "vendor", "usable"
_WIDTH = 120


def command(*, as_json: AsJson = False) -> None:
    """Print every provider and its devices, as a table or as JSON."""
    found = list(listed_providers())
    if as_json:
        echo_json([asdict(one) for one in found], indent=2)
    else:
        print_table(_HEADINGS, [row for one in found for row in _rows(one)], _WIDTH)


def _rows(one: Listed) -> Iterator[tuple[str, ...]]:
    """A row for each device, or one."""
    usable = f"no: {one.failure}" if one.failure else "yes"
    for device in one.devices or [Device("")]:
        number = f"{device.index} ({device.type})" if device.type else ""
        yield one.name, one.short, number, device.vendor, usable
