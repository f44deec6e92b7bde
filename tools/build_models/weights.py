"""Reads the two weight files, both pickles, without running code that they might contain.

A pickle is a program. The unpickler here accepts only the few names that a genuine weight file
uses, and replaces each by something harmless.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sources import BuildError

Weights = dict[str, NDArray[np.float32]]

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH_PROTOCOL = 1001


class AllowListUnpickler(pickle.Unpickler):
    """Resolves the names in `allowed` to their values there, and refuses all others."""

    def __init__(self, file: io.BytesIO, allowed: Mapping[str, Any]) -> None:
        super().__init__(file, encoding="latin1")
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        """The value of `module.name` in this file."""
        try:
            return self.allowed[f"{module}.{name}"]
        except KeyError:
            raise BuildError(f"The weight file asks for {module}.{name}: not loaded.") from None

    def persistent_load(self, pid: Any) -> Any:
        """A placeholder for a storage whose numbers follow later in a torch file."""
        _, dtype, key, _, count, _ = pid
        return _Storage(dtype, key, count)


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype[Any]
    key: str
    count: int


@dataclass(frozen=True)
class _View:
    """A tensor in a torch file: a strided view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, numbers: NDArray[Any]) -> NDArray[Any]:
        window = np.lib.stride_tricks.as_strided(
            numbers[self.offset :],
            self.shape,
            [stride * numbers.itemsize for stride in self.strides],
            writeable=False,
        )
        return np.ascontiguousarray(window)


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _View:
    return _View(storage, offset, shape, strides)


TORCH_NAMES: Mapping[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
}


def read_torch_state(data: bytes) -> Weights:
    """The float tensors of a state dict in torch's first file format (before its zip files).

    The file holds a magic number, a protocol number, facts about the machine, the state dict
    without its storages, the order of the storages, and then each storage: its length as a
    64-bit integer, and its numbers.
    """
    file = io.BytesIO(data)

    def load() -> Any:
        return AllowListUnpickler(file, TORCH_NAMES).load()

    if (load(), load()) != (TORCH_MAGIC, TORCH_PROTOCOL):
        raise BuildError("The file is not in torch's legacy format.")
    load()
    views: dict[str, _View] = load()
    dtypes = {view.storage.key: view.storage.dtype for view in views.values()}
    storages = {}
    for key in load():
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])
    return {
        name: view.of(storages[view.storage.key])
        for name, view in views.items()
        if view.storage.dtype.kind == "f"
    }


def _reconstruct_array(_: object, shape: tuple[int, ...], __: object) -> NDArray[Any]:
    return np.ndarray(shape, np.int8)


NUMPY_NAMES: Mapping[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct_array,
}


def read_numpy_layers(data: bytes) -> dict[str, list[NDArray[np.float32]]]:
    """A pickled dict from a layer's name to its arrays, `[kernel, bias]`."""
    layers: dict[str, list[NDArray[np.float32]]] = AllowListUnpickler(
        io.BytesIO(data), NUMPY_NAMES
    ).load()
    return layers
