"""SqueezeNet 1.1 (Iandola et al., 2016, arXiv:1602.07360) as ONNX."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from .weights import read_numpy_layers
from .writer import GraphWriter

# The pooling before a fire module, by the module's number.
POOL_BEFORE = {2: "pool1", 4: "pool3", 6: "pool5"}


def build(weight_file: bytes, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The network from pixels to probabilities: `data` (N, 3, height, width) to `prob` (N, 1000).

    `weight_file` is a pickled dict of numpy arrays. The graph follows the authors' Caffe model: no
    padding in conv1, poolings that round their size up, a ReLU after conv10.
    """
    net = _Network(read_numpy_layers(weight_file))
    x = net.conv_relu("conv1", "data", stride=2)
    for fire in range(2, 10):
        if fire in POOL_BEFORE:
            x = net.graph.node(
                "MaxPool", POOL_BEFORE[fire], x, kernel_shape=(3, 3), strides=(2, 2), ceil_mode=1
            )
        x = net.fire(f"fire{fire}", x)
    x = net.conv_relu("conv10", x)
    x = net.graph.node("GlobalAveragePool", "pool10", x)
    x = net.graph.node("Flatten", "flatten", x, axis=1)
    net.graph.node("Softmax", "prob", x, axis=1)
    return net.graph.model(
        "squeezenet1_1",
        {"data": ("N", 3, "height", "width")},
        {"prob": ("N", 1000)},
        doc="SqueezeNet 1.1, ImageNet-1k: BGR pixels 0..255 less (104.006, 116.669, 122.679), "
        "of any size from 17 x 17 on, to probabilities.",
        metadata=metadata,
    )


class _Network:
    def __init__(self, layers: Mapping[str, list[NDArray[np.float32]]]) -> None:
        self.graph = GraphWriter()
        self.layers = layers

    def fire(self, name: str, x: str) -> str:
        """Squeeze to few channels, then expand by 1x1 and 3x3 in parallel."""
        x = self.conv_relu(f"{name}/squeeze1x1", x)
        branches = (
            self.conv_relu(f"{name}/expand1x1", x),
            self.conv_relu(f"{name}/expand3x3", x, pad=1),
        )
        return self.graph.node("Concat", f"{name}/concat", *branches, axis=1)

    def conv_relu(self, name: str, x: str, *, stride: int = 1, pad: int = 0) -> str:
        """A convolution and its ReLU."""
        kernel, bias = self.layers[name]
        # The file holds (height, width, in, out); ONNX wants (out, in, height, width).
        weight = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        x = self.graph.conv(name, x, weight, bias, stride=stride, pads=(pad,) * 4)
        return self.graph.node("Relu", f"{name}/relu", x)
