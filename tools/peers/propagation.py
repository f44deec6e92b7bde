# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return"
"""Guided backpropagation, deconvnet and DeepLIFT of captum, and LRP of zennit and captum.

Versions read and run: captum 0.9.0, zennit 0.5.1. `module` ends in logits; `x` and `baseline` are
(1, C, H, W) float32. These libraries choose the rule of a node by its torch class:

- For captum only nn.ReLU is a rectifier, and its table of nonlinearities for DeepLIFT lacks
  nn.ReLU6. Other classes keep their derivative.
- captum's DeepLIFT gives the ordinary gradient to the layer directly before a max pool, because the
  hook on the tensor between them runs before the pool's hook replaces it. If windows overlap,
  `max_unpool` keeps only one of their shares. So its contributions do not add up.
- zennit passes relevance unchanged through classes without a rule, such as sums of branches.
"""

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import captum.attr as captum
import numpy as np
import torch
from captum.attr._core import deep_lift, lrp
from captum.attr._utils.lrp_rules import EpsilonRule
from numpy.typing import NDArray
from onnx2torch.node_converters.binary_math_operations import OnnxBinaryMathOperation
from onnx2torch.node_converters.global_average_pool import (
    OnnxGlobalAveragePool,
    OnnxGlobalAveragePoolWithKnownInputShape,
)
from onnx2torch.node_converters.pad import OnnxPadStatic
from zennit import composites, rules
from zennit.canonizers import AttributeCanonizer
from zennit.composites import LayerMapComposite, layer_map_base
from zennit.layer import Sum
from zennit.torchvision import ResNetCanonizer
from zennit.types import Linear

Float32 = NDArray[np.float32]
Kinds = Mapping[type[Any], Callable[[Any], torch.nn.Module]]


class Cap(torch.nn.Module):
    """The upper limit of ReLU6."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """No more than 6."""
        return torch.clamp(x, max=6)


class Copy(torch.nn.Module):
    """A copy: a separate tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same values."""
        return x * 1


class Joined(torch.nn.Module):
    """A sum of two branches in a class that zennit has a rule for."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = Sum()

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return self.sum(torch.stack([a, b], -1))


class Padded(torch.nn.Conv2d):
    """A convolution with uneven padding in one module; torch has two."""

    pad: torch.nn.Module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, then convolve."""
        return super().forward(self.pad(x))


def replaced(module: torch.nn.Module, kinds: Kinds) -> torch.nn.Module:
    """The module, with submodules of the given classes replaced."""
    for name, one in list(module.named_modules()):
        for kind, make in kinds.items():
            if type(one) is kind:
                parent, _, own = name.rpartition(".")
                setattr(module.get_submodule(parent), own, make(one))
    return module


def guided(module: torch.nn.Module, x: Float32, index: int, as_shipped: bool = False) -> Float32:
    """Guided backpropagation of captum, for which ReLU6 is no rectifier."""
    return _rectified(captum.GuidedBackprop, module, x, index, as_shipped)


def deconvnet(module: torch.nn.Module, x: Float32, index: int, as_shipped: bool = False) -> Float32:
    """Deconvolution of captum, for which ReLU6 is no rectifier."""
    return _rectified(captum.Deconvolution, module, x, index, as_shipped)


def _rectified(
    method: type, module: torch.nn.Module, x: Float32, index: int, as_shipped: bool
) -> Float32:
    if not as_shipped:
        two: Kinds = {torch.nn.ReLU6: lambda _: torch.nn.Sequential(torch.nn.ReLU(), Cap())}
        module = replaced(module, two)
    return method(module).attribute(_leaf(x), target=index).detach().numpy()


def deeplift(
    module: torch.nn.Module, x: Float32, baseline: Float32, index: int, as_shipped: bool = False
) -> Float32:
    """DeepLIFT of captum, with the Rescale rule."""

    def run() -> Float32:
        lifted = captum.DeepLift(module).attribute(
            _leaf(x), torch.from_numpy(baseline), target=index
        )
        return lifted.detach().numpy()

    if as_shipped:
        return run()
    copied: Kinds = {torch.nn.MaxPool2d: lambda pool: torch.nn.Sequential(Copy(), pool)}
    replaced(module, copied)
    known = patch.dict(deep_lift.SUPPORTED_NON_LINEAR, {torch.nn.ReLU6: deep_lift.nonlinear})
    with known, patch("torch.nn.functional.max_unpool2d", _summing_unpool):
        return run()


def _summing_unpool(x: torch.Tensor, places: torch.Tensor, *form: Any) -> torch.Tensor:
    size = torch.Size(form[-1])
    flat = torch.zeros(size).flatten(2)
    return flat.scatter_add(2, places.flatten(2), x.flatten(2)).reshape(size)


def zennit(
    module: torch.nn.Module, x: Float32, index: int, composite: str, low: Float32, high: Float32
) -> Float32:
    """LRP of zennit, with sums of branches and padding in classes that it has rules for."""
    return _relevance(replaced(module, _KNOWN), x, index, _composite(composite, low, high))


def zennit_resnet(
    module: torch.nn.Module,
    x: Float32,
    index: int,
    composite: str,
    low: Float32,
    high: Float32,
    as_shipped: bool = False,
) -> Float32:
    """LRP of zennit on torchvision's ResNet, with zennit's own canonizer.

    As shipped, a normalization that it has merged still divides by sqrt(1 + eps).
    """
    made = _composite(composite, low, high)
    made.canonizers = [ResNetCanonizer()] if as_shipped else [ResNetCanonizer(), _WITHOUT_EPS]
    return _relevance(module, x, index, made)


def _relevance(
    module: torch.nn.Module, x: Float32, index: int, composite: composites.Composite
) -> Float32:
    given = _leaf(x)
    with composite.context(module) as hooked:
        scores = hooked(given)
        relevance = torch.zeros_like(scores).flatten(1)
        relevance[0, index] = scores.flatten(1)[0, index].detach()
        (found,) = torch.autograd.grad(scores, given, relevance.reshape(scores.shape))
    return found.numpy()


def captum_lrp(module: torch.nn.Module, x: Float32, index: int) -> Float32:
    """LRP-ε of captum, with its ε of 1e-9; also for modules that it has no rule for."""
    module = replaced(module, _KNOWN)
    known = (*lrp.SUPPORTED_LAYERS_WITH_RULES, *lrp.SUPPORTED_NON_LINEAR_LAYERS, torch.nn.ReLU6)
    for one in module.modules():
        if not list(one.children()) and not isinstance(one, known):
            one.rule = EpsilonRule()
    with patch.object(lrp, "SUPPORTED_NON_LINEAR_LAYERS", [torch.nn.ReLU, torch.nn.ReLU6]):
        return captum.LRP(module).attribute(_leaf(x), target=index).detach().numpy()


def _padded(pair: torch.nn.Sequential) -> torch.nn.Module:
    if not isinstance(pair[0], OnnxPadStatic):
        return pair
    pad, conv = pair
    conv.__class__ = Padded
    conv.pad = pad
    return conv


def _pooled(_: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.AdaptiveAvgPool2d(1)


def _no_eps(_: str, module: torch.nn.Module) -> dict[str, float] | None:
    return {"eps": 0.0} if isinstance(module, torch.nn.BatchNorm2d) else None


_WITHOUT_EPS = AttributeCanonizer(_no_eps)
_KNOWN: Kinds = {
    OnnxBinaryMathOperation: lambda _: Joined(),
    OnnxGlobalAveragePool: _pooled,
    OnnxGlobalAveragePoolWithKnownInputShape: _pooled,
    torch.nn.Sequential: _padded,
}


def _composite(name: str, low: Float32, high: Float32) -> composites.Composite:
    uniform = {
        "epsilon": rules.Epsilon,
        "gamma": rules.Gamma,
        "zplus": rules.ZPlus,
        "alpha2beta1": rules.AlphaBeta,
    }
    if name in uniform:
        return LayerMapComposite([*layer_map_base(), (Linear, uniform[name]())])
    if name == "epsilon_gamma_box":
        return composites.EpsilonGammaBox(torch.from_numpy(low), torch.from_numpy(high))
    return {
        "epsilon_plus": composites.EpsilonPlus,
        "epsilon_plus_flat": composites.EpsilonPlusFlat,
        "epsilon_alpha2beta1": composites.EpsilonAlpha2Beta1,
        "epsilon_alpha2beta1_flat": composites.EpsilonAlpha2Beta1Flat,
    }[name]()


def _leaf(x: Float32) -> torch.Tensor:
    return torch.from_numpy(x).requires_grad_()
