# mypy: disable-error-code="no-untyped-call"
"""A torch network with exactly the weights that are in its export.

Exporters fold batch norms into convolutions and round the product to float32. This rounding can
move an activation across the kink of a ReLU, where the gradient jumps.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from onnxplain.model.model import Model
from onnxplain.tensors import Array, FloatArray

_SAME = 1e-4


def as_exported(net: nn.Module, model: Model, x: FloatArray) -> nn.Module:
    """A copy of `net` in which the same batch norms are folded as in `model`.

    `x` is a sample. It is run once to find which batch norm follows which convolution.
    """
    folded = copy.deepcopy(net).eval()
    weights = _weights(model)
    for conv_name, norm_name in _pairs(folded, x):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        parts: Any = [copy.deepcopy(part).double() for part in (conv, norm)]
        fused = fuse_conv_bn_eval(*parts).float()
        own = [_nearest(weights, part) for part in (fused.weight, fused.bias)]
        if own[0] is not None and own[1] is not None:
            fused.weight.data, fused.bias.data = own
            folded.set_submodule(conv_name, fused)
            folded.set_submodule(norm_name, nn.Identity())
    return folded


def _pairs(net: nn.Module, x: FloatArray) -> list[tuple[str, str]]:
    """Convolutions and the batch norms that read their outputs, by name."""
    makers: dict[int, str] = {}
    kept: list[Tensor] = []  # otherwise another tensor could get the same memory address
    pairs: list[tuple[str, str]] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Conv2d):
                kept.append(output)
                makers[id(output)] = name
            elif id(inputs[0]) in makers:
                pairs.append((makers[id(inputs[0])], name))

        return hook

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    with torch.no_grad():
        net(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return pairs


def _weights(model: Model) -> dict[tuple[int, ...], list[Array]]:
    """Every float32 weight that has the rank of a convolution's weight or bias, by shape."""
    weights: dict[tuple[int, ...], list[Array]] = {}
    base = str(model.folder or Path())
    for tensor in model.proto.graph.initializer:
        if len(tensor.dims) in (1, 4) and tensor.data_type == tensor.FLOAT:
            array = numpy_helper.to_array(tensor, base)
            weights.setdefault(array.shape, []).append(array)
    return weights


def _nearest(weights: dict[tuple[int, ...], list[Array]], wanted: Tensor) -> Tensor | None:
    """The weight of the file that equals this one up to rounding."""
    array = wanted.detach().numpy()
    limit = _SAME * float(np.abs(array).max())
    found = [(float(np.abs(w - array).max()), w) for w in weights.get(array.shape, [])]
    far, nearest = min(found, key=lambda pair: pair[0], default=(np.inf, array))
    return torch.from_numpy(np.array(nearest)) if far <= limit else None
