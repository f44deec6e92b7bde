"""From a path, bytes or a ModelProto to a `Model`."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from onnxplain.errors import ModelError
from onnxplain.model.check import check, check_weights
from onnxplain.model.external import locate_external_data, spill_large_weights
from onnxplain.model.model import Model
from onnxplain.model.normalize import normalize
from onnxplain.regular_files import read_regular

ModelSource = str | Path | bytes | ModelProto

_OTHER_FORMATS = (
    (b"ORTM", 4, "an ORT-format model; explain the .onnx file that it was converted from"),
    (b"PK\x03\x04", 0, "a zip archive, such as a PyTorch checkpoint; export it to ONNX first"),
    (b"\x89HDF", 0, "an HDF5 file, such as a Keras model; convert it with tf2onnx first"),
    (b"TFL3", 4, "a TensorFlow Lite model; convert it with tf2onnx first"),
    (b"version https://git-lfs", 0, "a Git LFS pointer; fetch the real file with `git lfs pull`"),
)


def load(source: ModelSource) -> Model:
    """Read and normalize a model; weights kept as external data stay on disk.

    Raises:
        ModelError: the file is not an ONNX model, is truncated, or holds no graph; or its external
            data is missing, too short, or outside the model's folder.
    """
    if isinstance(source, ModelProto):
        return _finish(deepcopy(source), None, _hash_proto(source))
    path = None if isinstance(source, bytes) else Path(source)
    data = source if isinstance(source, bytes) else _read(Path(source))
    proto = _parse(data, "these bytes" if path is None else str(path))
    return _finish(proto, path, hashlib.sha256(data).hexdigest())


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a folder: name the .onnx file in it.")
        return read_regular(path)
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}: check the path of the model.") from None
    except OSError as error:
        raise ModelError(f"The model {path} cannot be read: {error.strerror}.") from error


def _parse(data: bytes, name: str) -> ModelProto:
    for magic, offset, what in _OTHER_FORMATS:
        if data[offset : offset + len(magic)] == magic:
            raise ModelError(f"{name} is not an ONNX model but {what}.")
    if not data:
        raise ModelError(f"{name} is empty: copy or export the model again.")
    try:
        proto = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{name} is not an ONNX model, or it is truncated: copy or export it again."
        ) from error
    if not proto.graph.node or not proto.graph.output:
        raise ModelError(f"{name} is not an ONNX model: it holds no graph with nodes and outputs.")
    return proto


def _finish(proto: ModelProto, path: Path | None, sha256: str) -> Model:
    check(proto)
    folder = locate_external_data(proto, path)
    check_weights(proto)
    folder = folder or spill_large_weights(proto)
    return Model(normalize(proto), folder, path, sha256)


def _hash_proto(proto: ModelProto) -> str:
    """SHA-256 of the graph and then of each weight: a model above 2 GB cannot be serialized."""
    digest = hashlib.sha256()
    graph = proto.graph
    for part in (*proto.opset_import, *proto.functions, *graph.input, *graph.output, *graph.node):
        digest.update(part.SerializeToString(deterministic=True))
    for tensor in proto.graph.initializer:
        digest.update(tensor.name.encode())
        digest.update(tensor.raw_data or tensor.SerializeToString(deterministic=True))
    return digest.hexdigest()
