"""Models that are formulas, so that the right result is known."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

Array = np.ndarray[Any, np.dtype[Any]]
AS_IT_IS: Mapping[str, object] = {"scale": 1, "mean": 0, "std": 1}
"""Preprocessing that does not change values of 0 to 255."""


def model(text: str, opset: int = 13, **weights: Any) -> onnx.ModelProto:
    """A model from ONNX's own text form, without its header and its weights."""
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


GRID = (5, 7)
"""Of the last layer of net R that has rows and columns."""
INPUT = (3, 20, 26)
"""Of net R."""
NET_R_SHAPES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(
        "scorecam ablationcam reciprocam cam regression_activation_map eigencam kpcacam fem "
        "gradcam gradcam++ smooth_gradcam++ xgradcam shapleycam hirescam layercam odam "
        "eigengradcam".split(),
        GRID,
    ),
    "feature_maps": (8, *GRID),
    "fullgrad": INPUT[1:],
    **dict.fromkeys(
        "occlusion rise sobol hsic lime glime kernelshap gradient input_x_gradient smoothgrad "
        "smoothgrad_squared vargrad integrated_gradients blur_ig guided_ig expected_gradients xrai "
        "guided_backprop deconvnet guided_gradcam deeplift lrp activation_maximization".split(),
        INPUT,
    ),
}
"""Every method that explains a convolutional network, and the shape of its values for net R."""

OF_TRANSFORMERS = (
    "attention_rollout",
    "legrad",
    "generic_attention",
    "transformer_attribution",
    "grad_eclip",
    "vit_reciprocam",
)
"""Methods that do not support net R, because it has no tokens."""

OF_DETECTORS = ("drise",)
"""Methods that do not support net R, because it finds no boxes."""

ADAPTIVE = ("guided_ig", "xrai", "activation_maximization")
"""Methods whose samples depend on the target, so that several targets share no forward pass."""

BLOCKS = np.arange(20)[:, None] // 5 * 4 + np.arange(26) // 7
"""4 by 4 blocks of 5 rows and 7 columns, the last of 5."""

OPTIONS: dict[str, dict[str, Any]] = {
    "rise": {"samples": 30},
    "sobol": {"samples": 4, "grid": 3},
    "hsic": {"samples": 20, "grid": 3},
    "lime": {"samples": 40, "segments": BLOCKS},
    "glime": {"samples": 40, "segments": BLOCKS},
    "kernelshap": {"samples": 40, "segments": BLOCKS},
    "guided_ig": {"steps": 4},
    "xrai": {"steps": 2},
    "activation_maximization": {"steps": 4},
    "smoothgrad": {"samples": 3},
    "smoothgrad_squared": {"samples": 3},
    "vargrad": {"samples": 3},
    "smooth_gradcam++": {"samples": 3},
    "integrated_gradients": {"steps": 4},
    "blur_ig": {"steps": 4, "max_sigma": 4.0},
    "expected_gradients": {"samples": 3, "baselines": noise(2, *INPUT)},
}
"""Options that reduce the run time of a method."""
