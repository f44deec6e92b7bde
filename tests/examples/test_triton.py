"""The configurations for Triton in the docs are those of exported files."""

import re

import onnx
import pytest

from .conftest import ROOT

PAGE = ROOT / "docs" / "export-native.md"
TYPES = {"FLOAT": "TYPE_FP32", "INT64": "TYPE_INT64", "UINT8": "TYPE_UINT8"}


def described(value, batched):
    """A tensor as Triton writes it; with batches, the first axis is not named."""
    tensor = value.type.tensor_type
    sizes = [axis.dim_value or -1 for axis in tensor.shape.dim]
    if batched:
        assert sizes.pop(0) == -1, f"{value.name} has a fixed batch size"
    dims = ", ".join(map(str, sizes or [1]))
    kind = TYPES[onnx.TensorProto.DataType.Name(tensor.elem_type)]
    reshape = "" if sizes else " reshape { shape: [ ] }"
    return f'  {{ name: "{value.name}" data_type: {kind} dims: [ {dims} ]{reshape} }}'


@pytest.mark.parametrize(
    ("file", "mark", "batch"),
    [("plain", "a plain file", 8), ("drawn", "a file that takes a picture", 0)],
)
def test_a_configuration_describes_the_file(request, file, mark, batch):
    graph = onnx.load(request.getfixturevalue(file).path).graph
    mark = f"<!-- config of {mark} -->"
    (written,) = re.findall(mark + r"\n```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    lines = ['name: "squeezenet_gradcam"', 'backend: "onnxruntime"', f"max_batch_size: {batch}"]
    for kind, values in (("input", graph.input), ("output", graph.output)):
        tensors = ",\n".join(described(value, batch > 0) for value in values)
        lines += [f"{kind} [", tensors, "]"]
    lines += ["dynamic_batching { }"] if batch else []
    assert written.splitlines() == "\n".join(lines).splitlines()
