"""Compares rebuilt files with the shipped files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from .pictures import decode


def _pixels(data: bytes) -> list[Any]:
    pixels: list[Any] = decode(data).tolist()
    return pixels


# How to read the values in a file, whatever library version wrote it.
DECODERS: dict[str, Callable[[bytes], Any]] = {
    ".onnx": onnx.ModelProto.FromString,
    ".json": json.loads,
    ".png": _pixels,
    ".jpg": _pixels,
}


def compare(shipped: Path, rebuilt: bytes) -> str | None:
    """None for equal bytes or equal values, else what is wrong with `shipped`."""
    if not shipped.exists():
        return "missing"
    data = shipped.read_bytes()
    if data == rebuilt:
        return None
    decode = DECODERS[shipped.suffix]
    return None if decode(data) == decode(rebuilt) else "differs"
