"""Families of methods, for the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FAMILIES: Mapping[str, Sequence[str]] = {
    "Class activation": [
        "cam",
        "gradcam",
        "gradcam++",
        "smooth_gradcam++",
        "xgradcam",
        "shapleycam",
    ],
    "Class activation, cell by cell": [
        "hirescam",
        "layercam",
        "eigencam",
        "kpcacam",
        "eigengradcam",
    ],
    "Class activation without gradients": ["scorecam", "ablationcam", "reciprocam", "fem"],
    "Gradients": [
        "gradient",
        "input_x_gradient",
        "smoothgrad",
        "smoothgrad_squared",
        "vargrad",
        "fullgrad",
    ],
    "Paths from a baseline": [
        "integrated_gradients",
        "blur_ig",
        "guided_ig",
        "expected_gradients",
        "xrai",
        "deeplift",
    ],
    "Propagation with other rules": ["guided_backprop", "deconvnet", "guided_gradcam", "lrp"],
    "Perturbation": ["occlusion", "rise", "sobol", "hsic", "lime", "glime", "kernelshap"],
    "Transformers": [
        "attention_rollout",
        "legrad",
        "generic_attention",
        "transformer_attribution",
        "grad_eclip",
        "vit_reciprocam",
    ],
    "Layers and filters": ["feature_maps", "activation_maximization"],
    "Detected boxes": ["odam", "drise"],
    "Regression": ["regression_activation_map"],
}
"""Every method once."""
