"""EfficientNet-Lite0 (Tan and Le, 2019, arXiv:1905.11946; the Lite variant of 2020) as ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from .weights import Weights, read_torch_state
from .writer import GraphWriter

INPUT_SIZE = 224
BATCH_NORM_EPSILON = 1e-3


class Stage(NamedTuple):
    """A run of inverted-residual blocks; the stride is the first block's."""

    repeats: int
    kernel: int
    stride: int
    expand: int


STAGES = (
    Stage(1, 3, 1, 1),
    Stage(2, 3, 2, 6),
    Stage(2, 5, 2, 6),
    Stage(3, 3, 2, 6),
    Stage(3, 5, 1, 6),
    Stage(4, 5, 2, 6),
    Stage(1, 3, 1, 6),
)


def build(weight_file: bytes, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The network from pixels to logits: `input` (N, 3, 224, 224) to `logits` (N, 1000).

    `weight_file` is a state dict in torch's legacy format.
    """
    weights = read_torch_state(weight_file)
    net = _Network(weights)
    x = net.unit("stem", "input", "_conv_stem", "_bn0", kernel=3, stride=2)
    block = 0
    for stage_number, stage in enumerate(STAGES):
        for repeat in range(stage.repeats):
            x = net.block(
                f"blocks.{stage_number}.{repeat}",
                x,
                f"_blocks.{block}",
                stage if repeat == 0 else stage._replace(stride=1),
            )
            block += 1
    x = net.unit("head", x, "_conv_head", "_bn1")
    x = net.graph.node("GlobalAveragePool", "pool", x)
    x = net.graph.node("Flatten", "flatten", x, axis=1)
    net.graph.node(
        "Gemm",
        "logits",
        x,
        net.graph.constant("classifier.weight", weights["_fc.weight"]),
        net.graph.constant("classifier.bias", weights["_fc.bias"]),
        transB=1,
    )
    # The spelling of `doc` is part of the bytes of the shipped file, whose hash is published.
    return net.graph.model(
        "efficientnet_lite0",
        {"input": ("N", 3, INPUT_SIZE, INPUT_SIZE)},
        {"logits": ("N", 1000)},
        doc="EfficientNet-Lite0, ImageNet-1k: RGB pixels as (v - 127) / 128 to logits. "
        "Batch normalisation is folded into the convolutions.",
        metadata=metadata,
    )


class _Network:
    """The graph so far, the weights to use, and the size of the current feature map."""

    def __init__(self, weights: Weights) -> None:
        self.graph = GraphWriter()
        self.weights = weights
        self.size = INPUT_SIZE
        self.clip_range = (
            self.graph.constant("relu6.min", np.array(0, np.float32)),
            self.graph.constant("relu6.max", np.array(6, np.float32)),
        )

    def block(self, name: str, x: str, source: str, stage: Stage) -> str:
        """Expand, depthwise, project; the input is added if the shapes are equal."""
        y = x
        if stage.expand != 1:
            y = self.unit(f"{name}/expand", y, f"{source}._expand_conv", f"{source}._bn0")
        y = self.unit(
            f"{name}/depthwise",
            y,
            f"{source}._depthwise_conv",
            f"{source}._bn1",
            kernel=stage.kernel,
            stride=stage.stride,
        )
        weight, bias = self.folded(f"{source}._project_conv", f"{source}._bn2")
        y = self.graph.conv(f"{name}/project", y, weight, bias)
        is_residual = stage.stride == 1 and not name.endswith(".0")
        return self.graph.node("Add", f"{name}/add", x, y) if is_residual else y

    def unit(
        self, name: str, x: str, conv: str, norm: str, *, kernel: int = 1, stride: int = 1
    ) -> str:
        """Convolution, batch normalization, ReLU6; depthwise if the weight's shape says so."""
        weight, bias = self.folded(conv, norm)
        is_depthwise = weight.shape[1] == 1
        x = self.graph.conv(
            name,
            x,
            weight,
            bias,
            stride=stride,
            pads=same_pads(self.size, kernel, stride),
            group=weight.shape[0] if is_depthwise else 1,
        )
        self.size = -(-self.size // stride)
        return self.graph.node("Clip", f"{name}/relu6", x, *self.clip_range)

    def folded(self, conv: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias of the convolution with its batch normalization folded in."""
        gamma, beta, mean, variance = (
            self.weights[f"{norm}.{name}"].astype(np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        weight = self.weights[f"{conv}.weight"].astype(np.float64) * scale[:, None, None, None]
        return weight.astype(np.float32), (beta - mean * scale).astype(np.float32)


def same_pads(size: int, kernel: int, stride: int) -> Sequence[int]:
    """TensorFlow's SAME padding of a square map as ONNX pads: the odd pixel goes after."""
    out_size = -(-size // stride)
    total = max((out_size - 1) * stride + kernel - size, 0)
    before = total // 2
    after = total - before
    return before, before, after, after
