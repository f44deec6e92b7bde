# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return"
"""An ONNX model as a torch module on the same weights (onnx2torch), addressed by ONNX names."""

from pathlib import Path

import onnx
import torch
from onnx.utils import Extractor
from onnx2torch import convert
from onnx2torch.onnx_graph import OnnxGraph


def torch_module(
    model: str | Path | onnx.ModelProto, output: str | None = None
) -> torch.fx.GraphModule:
    """The model in eval mode, without gradients; up to tensor `output` if one is named.

    Naming the tensor before a final Softmax gives a module that ends in logits. The module takes
    one (N, ...) float32 tensor and returns one.
    """
    proto = _proto(model)
    if output is not None:
        shaped = onnx.shape_inference.infer_shapes(proto)
        proto = Extractor(shaped).extract_model([proto.graph.input[0].name], [output])
    module = convert(proto).eval()
    return module.requires_grad_(False)


def layer(
    module: torch.nn.Module, model: str | Path | onnx.ModelProto, name: str
) -> torch.nn.Module:
    """The submodule that computes what ONNX calls `name`: a node, or the tensor it outputs.

    onnx2torch names submodules after nodes, with every "." replaced by "/", or after the op type if
    a node has no name. It numbers repeated names. `module` was made from `model`.
    """
    nodes = OnnxGraph(_proto(model).graph).nodes
    for unique_name, node in nodes.items():
        if name == node.name or name in node.output_values:
            return module.get_submodule(unique_name)
    raise KeyError(
        f"no node or tensor {name!r}; nodes are {', '.join(n.name for n in nodes.values())}"
    )


def _proto(model: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    return model if isinstance(model, onnx.ModelProto) else onnx.load(Path(model))
