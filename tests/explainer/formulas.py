"""Models that are formulas, so that the right answer is known."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

Array = np.ndarray[Any, np.dtype[Any]]
AS_IT_IS: Mapping[str, object] = {"scale": 1, "mean": 0, "std": 1}
"""Preprocessing that leaves 0 to 255 alone."""


def model(text: str, opset: int = 13, **weights: Any) -> onnx.ModelProto:
    """A model from ONNX's own text, less its header and its weights."""
    parsed = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')
    parsed.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in weights.items()
    )
    return parsed


def linear(shape: str, weights: Any) -> onnx.ModelProto:
    """Scores <w_k, x> + 1 of an input of any shape; `weights` is (classes, *shape)."""
    matrix = np.reshape(weights, (len(weights), -1)).T
    text = f"g (float[N,{shape}] x) => (float[N,{len(weights)}] y)"
    return model(text + " { f = Flatten(x) m = MatMul(f, w) y = Add(m, one) }", w=matrix, one=[1])


def noise(*shape: int, seed: int = 0) -> Array:
    """Normal deviates."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def noise_picture(height: int = 33, width: int = 47) -> Array:
    """A picture of no object."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


NET_R_SHAPES = {
    "scorecam": (5, 7),
    "ablationcam": (5, 7),
    "reciprocam": (5, 7),
    "cam": (5, 7),
    "eigencam": (5, 7),
    "feature_maps": (8, 5, 7),
    "occlusion": (3, 20, 26),
    "rise": (3, 20, 26),
}
"""Every method, and the shape of its values for net R."""

OF_GRADIENTS = (
    "gradient input_x_gradient smoothgrad smoothgrad_squared vargrad integrated_gradients blur_ig "
    "expected_gradients guided_backprop deconvnet deeplift lrp gradcam gradcam++ xgradcam hirescam "
    "layercam eigengradcam smooth_gradcam++ guided_gradcam"
).split()
"""Methods with gradients whose targets share all passes but the backward one."""

OPTIONS: dict[str, dict[str, Any]] = {
    "rise": {"samples": 30},
    "smoothgrad": {"samples": 3},
    "smoothgrad_squared": {"samples": 3},
    "vargrad": {"samples": 3},
    "smooth_gradcam++": {"samples": 3},
    "integrated_gradients": {"steps": 4},
    "blur_ig": {"steps": 4, "max_sigma": 4.0},
    "expected_gradients": {"samples": 3, "baselines": noise(2, 3, 20, 26)},
}
"""What keeps a method short."""
