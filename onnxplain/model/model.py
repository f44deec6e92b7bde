"""A loaded model: the normalised graph and what is known about the file it came from."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from onnxplain.model.graph_index import Wiring
from onnxplain.tensors import TensorSpec


@dataclass(frozen=True, eq=False)
class Model:
    """A model ready for surgery.

    `proto` has local functions inlined, constants as initializers, and no initializer among its
    inputs. `folder` is where its external data lies, if it has any. `sha256` is that of the file,
    before any of this. Weights of external data are never read here.
    """

    proto: ModelProto
    folder: Path | None
    path: Path | None
    sha256: str

    @functools.cached_property
    def wiring(self) -> Wiring:
        """Who makes and reads each tensor."""
        return Wiring(self.proto)

    @functools.cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model must be fed."""
        return tuple(spec_of(value) for value in self.proto.graph.input)

    @functools.cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model answers."""
        return tuple(spec_of(value) for value in self.proto.graph.output)

    @property
    def metadata(self) -> dict[str, str]:
        """The file's `metadata_props`."""
        return {entry.key: entry.value for entry in self.proto.metadata_props}

    @property
    def opset(self) -> int:
        """Version of the default operator set (0 where the model imports none)."""
        return opset_of(self.proto)


def opset_of(proto: ModelProto) -> int:
    """Version of the default operator set that a model imports."""
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)


def spec_of(value: ValueInfoProto) -> TensorSpec:
    """Name, element type and declared shape of a graph input or output."""
    tensor = value.type.tensor_type
    shape: tuple[int | str | None, ...] | None = None
    if tensor.HasField("shape"):
        shape = tuple(
            d.dim_value if d.HasField("dim_value") else d.dim_param or None
            for d in tensor.shape.dim
        )
    known = tensor.elem_type != 0
    dtype = np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)) if known else np.dtype(object)
    return TensorSpec(value.name, dtype, shape)
