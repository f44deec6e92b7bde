"""Weights kept beside the model file, checked before anyone reads them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, set_external_data, uses_external_data

from onnxplain.errors import ModelError
from onnxplain.graph.wiring import subgraphs

PROTOBUF_LIMIT = 2**31 - 2**24
"""Bytes of weights above which a ModelProto cannot be serialised (2 GiB, less room for nodes)."""


def weights(proto: ModelProto) -> Iterator[TensorProto]:
    """Every initializer and constant, in subgraphs too."""
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        yield from graph.initializer
        for node in graph.node:
            yield from (a.t for a in node.attribute if a.HasField("t"))
            graphs.extend(subgraphs(node))
    for function in proto.functions:
        for node in function.node:
            yield from (a.t for a in node.attribute if a.HasField("t"))


def check_external_data(proto: ModelProto, folder: Path | None) -> None:
    """Make sure that every external tensor lies whole inside the model's own folder.

    Raises:
        ModelError: a file is missing or too short, or lies outside `folder`; the last is refused
            because a model file must not be able to read other files of the machine.
    """
    for tensor in weights(proto):
        if not uses_external_data(tensor):
            continue
        info = ExternalDataInfo(tensor)
        if folder is None:
            raise ModelError(
                f"Weight {tensor.name!r} is in the external file {info.location!r}, which cannot "
                "be found for a model given as bytes or ModelProto: give the path of the model, "
                "or load it with its external data."
            )
        file = folder / info.location
        if not file.resolve().is_relative_to(folder.resolve()):
            raise ModelError(
                f"Weight {tensor.name!r} points to {info.location!r}, outside the model's folder: "
                "refused, because a model must not read other files of this machine."
            )
        if not file.is_file():
            raise ModelError(
                f"The external weights {info.location!r} are missing: put that file beside the "
                f"model, in {folder}."
            )
        end = (info.offset or 0) + (info.length or 0)
        if end > file.stat().st_size:
            raise ModelError(
                f"The external weights {file} are truncated: weight {tensor.name!r} ends at byte "
                f"{end:,} of {file.stat().st_size:,}; copy the file again."
            )


def spill_large_weights(proto: ModelProto) -> Path | None:
    """Move the weights of a model above 2 GB, in place, to a temporary folder; else do nothing.

    The folder is removed when the process ends.
    """
    large = [t for t in weights(proto) if len(t.raw_data) > 1024]
    if sum(len(t.raw_data) for t in large) < PROTOBUF_LIMIT:
        return None
    folder = Path(tempfile.mkdtemp(prefix="onnxplain-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with (folder / "weights").open("wb") as file:
        for tensor in large:
            offset = file.tell()
            file.write(tensor.raw_data)
            set_external_data(tensor, "weights", offset, len(tensor.raw_data))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
    return folder
