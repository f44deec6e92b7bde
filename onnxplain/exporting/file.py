"""Write an exported graph as a file: as old a format as it allows, checked, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import (
    ExternalDataInfo,
    load_external_data_for_model,
    uses_external_data,
)

from onnxplain.errors import ModelError, OptionError
from onnxplain.model.external import PROTOBUF_LIMIT, byte_count, weights
from onnxplain.model.model import Model
from onnxplain.results.formats.write import write_files

_NEWER: Mapping[int, int] = {
    TensorProto.FLOAT8E4M3FN: 9,
    TensorProto.FLOAT8E4M3FNUZ: 9,
    TensorProto.FLOAT8E5M2: 9,
    TensorProto.FLOAT8E5M2FNUZ: 9,
    TensorProto.UINT4: 10,
    TensorProto.INT4: 10,
    TensorProto.FLOAT4E2M1: 11,
}
"""Element types that need a newer format than the operators do, and the version that has them."""


@dataclass(frozen=True)
class OutputFile:
    """Where an exported graph is written; with `external_data`, its weights to a second file."""

    path: Path
    external_data: bool

    @property
    def paths(self) -> list[Path]:
        """The files to write, the weights first."""
        data = self.path.with_name(f"{self.path.name}.data")
        return [data, self.path] if self.external_data else [self.path]

    def check(self, model: Model) -> None:
        """Check that writing replaces no file of the model, and nothing but files.

        Raises:
            OptionError: it would.
        """
        own = {path.resolve() for path in _files_of(model)}
        for path in self.paths:
            if path.exists() and not path.is_file():
                what = "a folder" if path.is_dir() else "no regular file"
                raise OptionError(f"{path} is {what}: name a file to write.")
            if path.resolve() in own:
                raise OptionError(f"{path} belongs to the model itself: name another file.")

    def write(self, proto: ModelProto, folder: Path | None) -> None:
        """Write the graph; `folder` holds the external weights of `proto`, None if it has none.

        Raises:
            OptionError: the weights need a file of their own.
            ModelError: ONNX's checker refuses the graph.
            OutputError: the system refused to write.
        """
        _set_oldest_format(proto)
        size = sum(map(byte_count, weights(proto)))
        if size >= PROTOBUF_LIMIT and not self.external_data:
            raise OptionError(
                f"The weights take {size / 1e9:.1f} GB, and one ONNX file holds less than 2 GB: "
                "write them to a file of their own with --external-data."
            )
        if folder is not None:
            load_external_data_for_model(proto, str(folder))
        if size < PROTOBUF_LIMIT:  # the checker serializes the model
            _check(proto)
        moved = [_moved(proto, path.name) for path in self.paths[:-1]]
        contents = [*moved, proto.SerializeToString()]
        names = [path.name for path in self.paths]
        write_files(self.path.parent, dict(zip(names, contents, strict=True)))


def _files_of(model: Model) -> Iterator[Path]:
    """The files that a model was read from."""
    if model.path is not None:
        yield model.path
    if model.folder is not None:
        for tensor in filter(uses_external_data, weights(model.proto)):
            yield model.folder / ExternalDataInfo(tensor).location


def _set_oldest_format(proto: ModelProto) -> None:
    """Set the oldest version of the format that has the operators and the element types."""
    oldest = helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
    proto.ir_version = max(oldest, *(_NEWER.get(t.data_type, 0) for t in weights(proto)), 8)


def _check(proto: ModelProto) -> None:
    """Check the graph as ONNX does.

    Raises:
        ModelError: the checker refuses it.
    """
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(
            "ONNX's own check refuses the graph that was made of this model and method "
            f"({' '.join(str(error).split())[:200]}): try another method, and report the model."
        ) from error


def _moved(proto: ModelProto, name: str) -> bytes:
    """Move large weights out of `proto` to the file `name`, whose content is returned."""
    parts, offset = [], 0
    for tensor in weights(proto):
        if byte_count(tensor) < 1024:
            continue
        if not tensor.HasField("raw_data"):
            plain = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
            tensor.CopyFrom(plain)
        raw = tensor.raw_data
        onnx.external_data_helper.set_external_data(tensor, name, offset, len(raw))
        tensor.ClearField("raw_data")
        parts.append(raw)
        offset += len(raw)
    return b"".join(parts)
