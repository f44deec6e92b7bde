"""External weights, in files next to the model: they are checked before they are read."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path

from onnx import ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import (
    ExternalDataInfo,
    set_external_data,
    uses_external_data,
    write_external_data_tensors,
)
from onnx.helper import tensor_dtype_to_np_dtype

from onnxplain.errors import ModelError
from onnxplain.model.graph_index import all_graphs
from onnxplain.regular_files import read_regular

PROTOBUF_LIMIT = 2**31 - 2**24
"""Bytes of weights above which a ModelProto cannot be serialized (2 GiB, less room for nodes)."""


_SMALL = 256
"""Most elements of a weight that may be a list of axes, sizes or scales."""


def weights(proto: ModelProto) -> Iterator[TensorProto]:
    """Every initializer and constant, in subgraphs too."""
    graphs = list(all_graphs(proto.graph))
    for graph in graphs:
        yield from graph.initializer
    for part in (*graphs, *proto.functions):
        for node in part.node:
            yield from (a.t for a in node.attribute if a.HasField("t"))


def _kept_inside(proto: ModelProto) -> Iterator[TensorProto]:
    """Weights that ONNX Runtime does not look up in the model's folder: sparse ones, and lists."""
    graphs = list(all_graphs(proto.graph))
    sparse = [one for graph in graphs for one in graph.sparse_initializer]
    for part in (*graphs, *proto.functions):
        for node in part.node:
            for attribute in node.attribute:
                sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
                yield from attribute.tensors
    for one in sparse:
        yield from (one.values, one.indices)


def byte_count(tensor: TensorProto) -> int:
    """Bytes of a weight as an array, in the model or external; 0 for strings.

    Computed from shape and type, because the message must be serialized to know its own length.
    """
    if tensor.data_type == TensorProto.STRING:
        return 0
    try:
        size: int = prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError):  # ONNX Runtime says what is wrong with such a model
        return 0
    return size


def locate_external_data(proto: ModelProto, path: Path | None) -> Path | None:
    """Find the folder of the external weights of a model read from `path`; None if it has none.

    The folder is that of `path`; where `path` is a symbolic link, as in a download cache, it may
    also be that of the link's target. The locations in `proto` are changed in place to be relative
    to the returned folder. Sparse weights are read into `proto`, because ONNX Runtime would look
    for their files in the working folder of the process; and so are small weights, because they may
    be axes or shapes, without which shapes cannot be inferred.

    Raises:
        ModelError: a file is missing or too short, or is outside the model's folder. Files outside
            are refused because a model must not be able to read other files of the machine.
    """
    small = (tensor for tensor in weights(proto) if prod(tensor.dims) <= _SMALL)
    for tensor in filter(uses_external_data, (*_kept_inside(proto), *small)):
        _, file, info = _located(tensor, path)
        tensor.raw_data = read_regular(file, start=info.offset or 0, length=info.length or -1)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    homes = set()
    for tensor in filter(uses_external_data, weights(proto)):
        home, file, _ = _located(tensor, path)
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = file.relative_to(home).as_posix()
        homes.add(home)
    if len(homes) > 1:
        raise ModelError(
            f"The external weights are in {' and '.join(sorted(map(str, homes)))}: put them all "
            "in the folder of the model."
        )
    return homes.pop() if homes else None


def _located(tensor: TensorProto, path: Path | None) -> tuple[Path, Path, ExternalDataInfo]:
    """The allowed folder that holds a weight's file, the path of that file, and the place in it."""
    for entry in [entry for entry in tensor.external_data if entry.key not in _KEYS]:
        tensor.external_data.remove(entry)
    try:
        info = ExternalDataInfo(tensor)
        if path is None:
            raise ModelError(
                f"Weight {tensor.name!r} is in the external file {info.location!r}, which "
                "cannot be found for a model given as bytes or ModelProto: give the path of "
                "the model, or load it with its external data."
            )
        return *_locate(tensor.name, info, path), info
    except (ValueError, OSError, RuntimeError) as error:  # the last one is of a loop of links
        reason = getattr(error, "strerror", None) or error
        raise ModelError(
            f"The location of the external weight {tensor.name!r} is invalid ({reason}): "
            "export the model again."
        ) from None


_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
"""What ONNX defines of the place of a weight. onnx warns of other keys."""


def _locate(name: str, info: ExternalDataInfo, path: Path) -> tuple[Path, Path]:
    """The allowed folder that holds a weight's file, and the path of that file."""
    given, real = path.absolute().parent, path.resolve().parent
    file = next((f for f in (given / info.location, real / info.location) if f.is_file()), None)
    target = (file or given / info.location).resolve()
    home = next((f for f in (given.resolve(), real) if target.is_relative_to(f)), None)
    if home is None:
        raise ModelError(
            f"Weight {name!r} points to {info.location!r}, outside the model's folder: refused, "
            "because a model must not read other files of this machine."
        )
    if file is None:
        raise ModelError(
            f"The external weights {info.location!r} are missing: put that file next to the model, "
            f"in {given}."
        )
    end, size = (info.offset or 0) + (info.length or 0), file.stat().st_size
    if end > size:
        raise ModelError(
            f"The external weights {file} are truncated: weight {name!r} ends at byte {end:,} of "
            f"{size:,}; copy the file again."
        )
    return home, target


def spill_large_weights(proto: ModelProto) -> Path | None:
    """Move the weights of a model above 2 GB to a temporary folder, which is returned.

    `proto` is changed in place. A smaller model stays as it is, and None is returned. The folder is
    removed when the process ends.
    """
    # What is stored counts, not the shape: that of a damaged model may promise more.
    stored = [(t, t.ByteSize()) for t in weights(proto) if t.data_type != TensorProto.STRING]
    large = [tensor for tensor, size in stored if size > 1024]
    if sum(size for _, size in stored) < PROTOBUF_LIMIT:
        return None
    folder = Path(tempfile.mkdtemp(prefix="onnxplain-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for tensor in large:
        if not tensor.HasField("raw_data"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
        set_external_data(tensor, "weights")
    write_external_data_tensors(proto, str(folder))
    return folder
