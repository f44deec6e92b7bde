# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return"
"""Grad-CAM and similar methods in pytorch-grad-cam, torch-cam and captum, before rescaling.

Versions read and run: grad-cam 1.5.7 (`pytorch_grad_cam`), torchcam 0.5.0, captum 0.9.0.

Their differences from the definitions:
- pytorch-grad-cam adds 1e-6 to the denominator of Grad-CAM++. After a global pool, g² has the same
  order of magnitude. Alpha stays the same if activations are divided by a number and gradients
  are multiplied by it, so with a large number the 1e-6 has no effect.
- pytorch-grad-cam centers the channels of EigenGradCAM, and its sign is random. If the product is
  stacked on its negative, the mean is 0, and centering has no effect.
- pytorch-grad-cam's aug_smooth scales each map to [0, 1] before the mean. Its own transforms are
  used here, with the mean of the maps as they are. The sign of its eigen_smooth is random, and the
  part that is positive by chance is kept: here the map is returned before that.
- torch-cam's Grad-CAM++ divides a copy (`alpha[mask].div_`): its alpha is g², never divided.
- torch-cam's Smooth Grad-CAM++ takes the gradient of the last noisy copy instead of the mean, and
  the activation of the clean input. It multiplies the cubes by the activation before summing them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_grad_cam as pgc
import torch
import torchcam.methods
from captum.attr import GuidedGradCam
from numpy.typing import NDArray
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from torch.nn.attention import SDPBackend, sdpa_kernel

Float32 = NDArray[np.float32]
Reshape = Callable[[torch.Tensor], torch.Tensor]

PGC = {
    "gradcam": pgc.GradCAM,
    "gradcam++": pgc.GradCAMPlusPlus,
    "xgradcam": pgc.XGradCAM,
    "hirescam": pgc.HiResCAM,
    "layercam": pgc.LayerCAM,
    "eigengradcam": pgc.EigenGradCAM,
}
TORCHCAM: Mapping[str, Callable[..., Any]] = {
    "gradcam": torchcam.methods.GradCAM,
    "gradcam++": torchcam.methods.GradCAMpp,
    "xgradcam": torchcam.methods.XGradCAM,
    "layercam": torchcam.methods.LayerCAM,
}

_LARGE = 1e8


def _at_layer(cam: Any, x: Float32, index: int) -> tuple[Float32, Float32]:
    """The activation and the gradient of the output `index` that the library has for a layer."""
    found = cam.activations_and_grads
    found(torch.from_numpy(x).requires_grad_(True))[0, index].backward()
    a, g = (np.asarray(one[0].numpy(), np.float32) for one in (found.activations, found.gradients))
    found.release()
    return a, g


def pytorch_grad_cam(
    method: str,
    module: torch.nn.Module,
    layer: torch.nn.Module,
    x: Float32,
    index: int,
    reshape: Reshape | None = None,
    *,
    as_shipped: bool = False,
) -> Float32:
    """The map (h, w) of the output `index` at `layer`, signed if ours is.

    `reshape` brings a layer's tokens to (N, C, h, w), as the library's users do for transformers.
    """
    cam = PGC[method](module, [layer], reshape_transform=reshape)
    a, g = _at_layer(cam, x, index)
    if method == "eigengradcam" and not as_shipped:
        twice = np.concatenate([g * a, -g * a], axis=2)
        return get_2d_projection(twice)[0, : a.shape[2]]
    if method == "gradcam++" and not as_shipped:
        image = cam.get_cam_image(None, layer, None, a / _LARGE, g * _LARGE, False)
    else:
        image = cam.get_cam_image(None, layer, None, a, g, False)
    signed = method in ("hirescam", "eigengradcam")
    return np.asarray(image[0] if signed else np.maximum(image[0], 0), np.float32)


def eigen_smooth(
    method: str,
    module: torch.nn.Module,
    layer: torch.nn.Module,
    x: Float32,
    index: int,
    reshape: Reshape | None = None,
) -> Float32:
    """The map (h, w) with the library's eigen_smooth, with a random sign, not rectified."""
    cam = PGC[method](module, [layer], reshape_transform=reshape)
    a, g = _at_layer(cam, x, index)
    return np.asarray(cam.get_cam_image(None, layer, None, a, g, True)[0], np.float32)


def aug_smooth(
    method: str,
    module: torch.nn.Module,
    layer: torch.nn.Module,
    x: Float32,
    index: int,
    reshape: Reshape | None = None,
    *,
    as_shipped: bool = False,
) -> Float32:
    """The mean (h, w) of the maps of the library's changed pictures.

    As shipped, each map has 0 at its smallest and 1 at its largest value.
    """
    cam = PGC[method](module, [layer], reshape_transform=reshape)
    cam.activations_and_grads.release()
    maps = []
    for transform in cam.tta_transforms:
        changed = transform.augment_image(torch.from_numpy(x)).numpy()
        own = pytorch_grad_cam(method, module, layer, changed, index, reshape)
        own = (own - own.min()) / np.ptp(own) if as_shipped else own
        maps.append(transform.deaugment_mask(torch.from_numpy(own)[None, None]).numpy()[0, 0])
    return np.asarray(np.mean(maps, axis=0), np.float32)


def shapleycam(
    module: torch.nn.Module,
    layer: torch.nn.Module,
    x: Float32,
    index: int,
    reshape: Reshape | None = None,
) -> Float32:
    """ShapleyCAM of pytorch-grad-cam for the probability of a class, (h, w), after a ReLU.

    It asks torch for second derivatives, which the faster kernels of attention do not have.
    """
    cam = pgc.ShapleyCAM(module, [layer], reshape_transform=reshape)
    with sdpa_kernel(SDPBackend.MATH):
        point = torch.from_numpy(x).requires_grad_(True)
        score = torch.softmax(cam.activations_and_grads(point), dim=-1)[0, index]
        torch.autograd.grad(score, point, create_graph=True)
        (a,), (g,) = cam.activations_and_grads.activations, cam.activations_and_grads.gradients
        weights = cam.get_cam_weights(point, layer, None, a, g)
    shown = (reshape(a) if reshape else a).detach().numpy()
    cam.activations_and_grads.activations, cam.activations_and_grads.gradients = [], []
    cam.activations_and_grads.release()  # without the tensors, because views cannot be detached
    return np.asarray(np.maximum(np.tensordot(weights[0], shown[0], 1), 0), np.float32)


def fullgrad(module: torch.nn.Module, x: Float32, index: int) -> Float32:
    """FullGrad of pytorch-grad-cam, (h, w), before the sum is scaled to [0, 1]."""
    cam = pgc.FullGrad(module, [])
    point = torch.from_numpy(x).requires_grad_(True)
    cam.activations_and_grads(point)[0, index].backward()
    maps = cam.compute_cam_per_layer(point, None, False)
    cam.activations_and_grads.gradients = []  # `release` would change views in place
    cam.activations_and_grads.release()
    return np.asarray(maps[0].sum(axis=0), np.float32)


def torch_cam(
    method: str, module: torch.nn.Module, layer: torch.nn.Module, x: Float32, index: int
) -> Float32:
    """The map (h, w) of the output `index` at `layer`, after its ReLU, unscaled."""
    extractor = TORCHCAM[method](module, layer)
    with extractor:
        scores = module(torch.from_numpy(x).requires_grad_(True))
        (values,) = extractor(index, scores, normalized=False)
    return np.asarray(values[0].detach().numpy(), np.float32)


def captum_guided_gradcam(
    module: torch.nn.Module, layer: torch.nn.Module, x: Float32, index: int
) -> Float32:
    """Guided Grad-CAM, in the shape of `x`; by default captum enlarges by nearest neighbor."""
    method = GuidedGradCam(module, layer)
    found = method.attribute(torch.from_numpy(x), target=index, interpolate_mode="bilinear")
    return np.asarray(found.detach().numpy(), np.float32)
