"""Write an exported graph as a file: as old a format as it allows, checked, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import load_external_data_for_model

from onnxplain.errors import ModelError, OptionError
from onnxplain.model.external import PROTOBUF_LIMIT, byte_count, weights
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


def write(proto: ModelProto, folder: Path | None, path: Path, *, external_data: bool) -> Path:
    """Write the graph to `path`; with `external_data`, its weights to a second file.

    `folder` holds the external weights of `proto`, None if it has none.

    Raises:
        OptionError: the weights need a file of their own.
        OutputError: the system refused to write.
    """
    _set_oldest_format(proto)
    size = sum(map(byte_count, weights(proto)))
    if size >= PROTOBUF_LIMIT and not external_data:
        raise OptionError(
            f"The weights take {size / 1e9:.1f} GB, and one ONNX file holds less than 2 GB: write "
            "them to a file of their own with --external-data."
        )
    if folder is not None:
        load_external_data_for_model(proto, str(folder))
    if size < PROTOBUF_LIMIT:  # the checker serializes the model
        _check(proto)
    files = {}
    if external_data:
        data = f"{path.name}.data"
        files[data] = _moved(proto, data)
    files[path.name] = proto.SerializeToString()
    write_files(path.parent, files)
    return path


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
            f"ONNX's own check refuses the graph that was made ({error}): report this model."
        ) from error


def _moved(proto: ModelProto, name: str) -> bytes:
    """Move large weights out of `proto` to the file `name`, whose content is returned."""
    parts, offset = [], 0
    for tensor in weights(proto):
        if byte_count(tensor) < 1024:
            continue
        raw = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
        for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)
        tensor.raw_data = raw
        onnx.external_data_helper.set_external_data(tensor, name, offset, len(raw))
        tensor.ClearField("raw_data")
        parts.append(raw)
        offset += len(raw)
    return b"".join(parts)
