"""A loaded model: the normalized graph and what is known about the file it came from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from onnx import FunctionProto, ModelProto, TypeProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from onnxplain.model.graph_index import GraphIndex
from onnxplain.model.operators import STANDARD_DOMAINS
from onnxplain.recent import Recent
from onnxplain.tensors import TensorSpec

Found = TypeVar("Found")

KEY = "onnxplain."
"""What the keys of the metadata of exported files start with."""

_KEPT = 8
"""Results that `Model.once` keeps; few, because each may be large."""


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded and normalized model.

    `proto` has local functions inlined, constants as initializers, and no initializer among its
    inputs. `folder` holds its external data, and is None where it has none. `sha256` is the hash of
    the file before these changes. External weights are never read here.
    """

    proto: ModelProto
    folder: Path | None
    path: Path | None
    sha256: str
    _found: Recent[Any] = field(init=False, repr=False, default_factory=lambda: Recent(_KEPT))

    def once(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """The result of `find()`, cached under `key`; `find` runs again after it was dropped."""
        found: Found = self._found.get(key, find)
        return found

    @functools.cached_property
    def index(self) -> GraphIndex:
        """Which node makes each tensor, and which nodes read it."""
        return GraphIndex(self.proto)

    @functools.cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, element type and declared shape of each input.

        An input cannot be empty: a size of 0 is an open one.
        """
        return tuple(map(_never_empty, map(spec_of, self.proto.graph.input)))

    @functools.cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, element type and declared shape of each output."""
        return tuple(spec_of(value) for value in self.proto.graph.output)

    @property
    def metadata(self) -> dict[str, str]:
        """The file's `metadata_props`."""
        return {entry.key: entry.value for entry in self.proto.metadata_props}

    @property
    def is_exported(self) -> bool:
        """Whether `onnxplain export` made the model, so that it explains already."""
        return KEY + "method" in self.metadata

    @property
    def opset(self) -> int:
        """Version of the default operator set (0 where the model imports none)."""
        return opset_of(self.proto)


def opset_of(proto: ModelProto | FunctionProto) -> int:
    """Version of the default operator set that a model or a function imports."""
    return next((o.version for o in proto.opset_import if o.domain in STANDARD_DOMAINS), 0)


def spec_of(value: ValueInfoProto) -> TensorSpec:
    """Name, element type and declared shape of a graph input or output."""
    return spec_of_type(value.name, value.type)


def _never_empty(spec: TensorSpec) -> TensorSpec:
    sizes = None if spec.shape is None else tuple(size or None for size in spec.shape)
    return replace(spec, shape=sizes)


def spec_of_type(name: str, type_: TypeProto) -> TensorSpec:
    """Element type and dimensions of a tensor; the dtype `object` where the type is not known."""
    element = type_.tensor_type.elem_type
    dtype = np.dtype(tensor_dtype_to_np_dtype(element)) if element else np.dtype(object)
    return TensorSpec(name, dtype, dims_of(type_))


def dims_of(type_: TypeProto | None) -> tuple[int | str | None, ...] | None:
    """The dimensions of a tensor type, as in `TensorSpec`; None if the rank is not known.

    A negative number is an unknown dimension: some converters write -1.
    """
    if type_ is None or not type_.tensor_type.HasField("shape"):
        return None
    return tuple(
        (dim.dim_value if dim.dim_value >= 0 else None)
        if dim.HasField("dim_value")
        else dim.dim_param or None
        for dim in type_.tensor_type.shape.dim
    )
