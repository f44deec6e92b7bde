"""All methods by name, and a function that makes one from a name and options."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from onnxplain.errors import OptionError
from onnxplain.methods.base import Method
from onnxplain.methods.blur import BlurIG
from onnxplain.methods.cam import (
    CAM,
    FEM,
    KPCACAM,
    EigenCAM,
    FeatureMaps,
    RegressionActivationMap,
)
from onnxplain.methods.deeplift import DeepLIFT
from onnxplain.methods.expected import ExpectedGradients
from onnxplain.methods.fullgrad import FullGrad
from onnxplain.methods.gradcam import (
    ODAM,
    EigenGradCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ShapleyCAM,
    XGradCAM,
)
from onnxplain.methods.gradient import Gradient, InputXGradient
from onnxplain.methods.guided import Deconvnet, GuidedBackprop, GuidedGradCAM
from onnxplain.methods.guided_ig import GuidedIG
from onnxplain.methods.integrated import IntegratedGradients
from onnxplain.methods.lrp import LRP
from onnxplain.methods.maximization import ActivationMaximization
from onnxplain.methods.occlusion import Occlusion
from onnxplain.methods.options import Declared, options_of, with_options
from onnxplain.methods.perturb_layer import AblationCAM, ReciproCAM
from onnxplain.methods.rise import DRISE, RISE
from onnxplain.methods.scorecam import ScoreCAM
from onnxplain.methods.sensitivity import HSIC, Sobol
from onnxplain.methods.smooth_gradcam import SmoothGradCAMPlusPlus
from onnxplain.methods.smoothgrad import SmoothGrad, SmoothGradSquared, VarGrad
from onnxplain.methods.superpixels import GLIME, LIME, KernelSHAP
from onnxplain.methods.transformer import (
    AttentionRollout,
    GenericAttention,
    GradECLIP,
    LeGrad,
    TransformerAttribution,
    ViTReciproCAM,
)
from onnxplain.methods.xrai import XRAI
from onnxplain.suggestions import closest

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        ScoreCAM,
        AblationCAM,
        ReciproCAM,
        CAM,
        EigenCAM,
        KPCACAM,
        FEM,
        Occlusion,
        RISE,
        DRISE,
        Sobol,
        HSIC,
        FeatureMaps,
        Gradient,
        InputXGradient,
        SmoothGrad,
        SmoothGradSquared,
        VarGrad,
        IntegratedGradients,
        BlurIG,
        GuidedIG,
        ExpectedGradients,
        XRAI,
        GuidedBackprop,
        Deconvnet,
        GradCAM,
        ShapleyCAM,
        GradCAMPlusPlus,
        SmoothGradCAMPlusPlus,
        XGradCAM,
        HiResCAM,
        LayerCAM,
        ODAM,
        EigenGradCAM,
        GuidedGradCAM,
        FullGrad,
        RegressionActivationMap,
        LIME,
        GLIME,
        KernelSHAP,
        DeepLIFT,
        AttentionRollout,
        LeGrad,
        GenericAttention,
        TransformerAttribution,
        GradECLIP,
        ViTReciproCAM,
        LRP,
        ActivationMaximization,
    )
}

AUTO = "auto"
"""In place of a name: the method that `Explainer.default_method` chooses for a model."""

OPTIONS: dict[str, Declared] = {
    name: declared for method in METHODS.values() for name, declared in options_of(method).items()
}
"""The options of all methods by name; an option has the same declaration in all methods."""


def make_method(method: str | Method, options: Mapping[str, Any]) -> Method:
    """The method of that name with `options`; a configured method is returned as it is.

    Raises:
        OptionError: there is no such method, or it does not take an option or its value.
    """
    found = method if isinstance(method, Method) else _default(method)
    return with_options(found, options)


def method_class(name: str) -> type[Method]:
    """The class of the method of that name.

    Raises:
        OptionError: there is no such method.
    """
    if name not in METHODS:
        raise OptionError(f"There is no method {name!r}{closest(name, METHODS, count=20)}.")
    return METHODS[name]


@functools.cache
def _default(name: str) -> Method:
    """The method of that name with default options."""
    return method_class(name)()
