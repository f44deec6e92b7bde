# mypy: disable-error-code="import-untyped, no-untyped-call"
"""The same network in torch: its forward and backward."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn

from onnxplain.tensors import FloatArray
from tools.survey_rebatch import FAMILIES, network


def backward(path: Path, x: FloatArray, seed: FloatArray, threads: int) -> Callable[[], object]:
    """A call that computes the gradient of Σ seed · output by `x`.

    The network is torchvision's own if the file is named after one of the families, such as
    `resnet18.script.onnx`; else onnx2torch converts the file. Raises whatever that raises.
    """
    # It imports torchvision, which survey_rebatch has made ready for any torch.
    from onnx2torch import convert

    torch.set_num_threads(threads)
    family = path.name.split(".")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net: nn.Module = network(family) if family in FAMILIES else convert(onnx.load(path))
    net.eval().requires_grad_(False)
    weights = torch.from_numpy(seed)

    def run() -> torch.Tensor | None:
        picture = torch.from_numpy(x).requires_grad_()
        output = net(picture)
        answer = output["out"] if isinstance(output, dict) else output
        (answer * weights).sum().backward()
        return picture.grad

    run()
    return run
