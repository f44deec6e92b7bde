# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return"
"""torchvision networks with random weights, as torch modules and as ONNX exports of them."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import torch
import torchvision.models as zoo
from numpy.typing import NDArray

Reshape = Callable[[torch.Tensor], torch.Tensor]


def class_token_first(tokens: torch.Tensor) -> torch.Tensor:
    """(N, 1 + h w, C) to (N, C, h, w)."""
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)


def channels_last(grid: torch.Tensor) -> torch.Tensor:
    """(N, h, w, C) to (N, C, h, w)."""
    return grid.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Net:
    """How to make a network, the size of its pictures, and the layer that `auto` finds.

    `gains` is the spread of the gains of layer normalizations around 1. If all gains are 1, the
    channels of a token after the normalization add up to 0.
    """

    make: Callable[[], torch.nn.Module]
    size: int
    layer: Callable[[Any], torch.nn.Module]
    reshape: Reshape | None = None
    gains: float | None = None


NETS = {
    "resnet18": Net(lambda: zoo.resnet18(num_classes=10), 96, lambda net: net.layer4[-1]),
    # After the last attention, patch tokens do not affect the class token.
    "vit": Net(
        lambda: zoo.VisionTransformer(96, 16, 4, 4, 64, 128, num_classes=10),
        96,
        lambda net: net.encoder.layers[-1].ln_1,
        class_token_first,
        gains=0.5,
    ),
    "swin": Net(
        lambda: zoo.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10),
        64,
        lambda net: net.norm,
        channels_last,
    ),
}


@dataclass(frozen=True)
class Exported:
    """A torch module, its export, the layer in it, and a sample."""

    module: torch.nn.Module
    model: onnx.ModelProto
    layer: torch.nn.Module
    reshape: Reshape | None
    x: NDArray[np.float32]


@cache
def exported(name: str) -> Exported:
    """A network of `NETS`.

    No weight is 0, as those of a transformer's classifier would be. Logits differ by about 1, so
    that probabilities differ clearly.
    """
    net = NETS[name]
    torch.manual_seed(0)
    module = net.make()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, parameter.mean().item(), 0.05 + parameter.std().item() / 2)
    for part in module.modules():
        if net.gains and isinstance(part, torch.nn.LayerNorm):
            torch.nn.init.normal_(part.weight, 1, net.gains)
    module.eval()
    x = torch.randn(1, 3, net.size, net.size)
    *_, head = (part for part in module.modules() if isinstance(part, torch.nn.Linear))
    with torch.no_grad():
        spread = module(x).std()
        for parameter in head.parameters():
            parameter.div_(spread)
    model = _export(module, x)
    return Exported(module, model, net.layer(module), net.reshape, x.numpy())


@cache
def with_batch_norms() -> Exported:
    """A small convolutional net with biases, whose batch normalizations stay in its export."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 6, 3, stride=2, padding=1), torch.nn.BatchNorm2d(6), torch.nn.ReLU()),
        *(torch.nn.Conv2d(6, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.BatchNorm2d(8)),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5)),
    ).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for values in (*part.parameters(), *part.buffers()):
                if values.is_floating_point():  # the number of batches is an integer
                    torch.nn.init.uniform_(values, 0.5, 2)
    x = torch.randn(1, 3, 22, 30)
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    return Exported(module, _export(module, x, **kept), module[-4], None, x.numpy())


def _export(module: torch.nn.Module, x: torch.Tensor, **options: Any) -> onnx.ModelProto:
    """The module as ONNX; from now on its weights need no gradients."""
    file: Any = io.BytesIO()  # torch accepts more types than it declares
    options |= {"input_names": ["image"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the tracer: shapes are fixed here
        torch.onnx.export(module, (x,), file, dynamo=False, opset_version=17, **options)
    module.requires_grad_(False)
    return onnx.load_model_from_string(file.getvalue())
