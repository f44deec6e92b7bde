# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return"
"""The peers' maps before they clip and rescale them, and the differences of each library.

Versions read and run: grad-cam 1.5.7 (`pytorch_grad_cam`), torchcam 0.5.0, captum 0.9.0.

Shared conventions. `x` and `baseline` are (1, C, H, W) float32 numpy arrays. `target` takes the
model's output for one sample, (K,), and returns its score as a scalar tensor: `element(k)` for a
score that the model outputs, `probability(k)` where the model ends in logits. `module` and `layer`
come from `tools.peers.modules`. `first=n` uses only the first n channels, to save time; the
softmax of Score-CAM is then over these.

Both Score-CAMs and Ablation-CAM deviate from the project's definition. With `as_shipped=False` the
deviation is removed through the library's own hooks, as each docstring says, and the numbers can
be compared directly; with `as_shipped=True` the library runs as it is.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
import torchcam.methods
from captum.attr import Occlusion
from numpy.typing import NDArray
from pytorch_grad_cam import FEM, KPCA_CAM, AblationCAM, AblationLayer, ScoreCAM
from pytorch_grad_cam.ablation_layer import AblationLayerVit
from pytorch_grad_cam.feature_factorization.deep_feature_factorization import dff
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

Float32 = NDArray[np.float32]
Target = Callable[[torch.Tensor], torch.Tensor]
Reshape = Callable[[torch.Tensor], torch.Tensor]


def element(index: int) -> Target:
    """The score is output element `index`."""
    return lambda output: output[index]


def probability(index: int) -> Target:
    """The score is the softmax of the output, element `index`."""
    return lambda output: torch.softmax(output, dim=-1)[index]


@dataclass(frozen=True)
class WeightedMap:
    """Channel weights (C,) and the activation (C, h, w) that they weight."""

    weights: Float32
    activation: Float32

    @property
    def values(self) -> Float32:
        """ReLU(sum_k w_k A_k), (h, w), unscaled."""
        combined = np.tensordot(self.weights, self.activation, axes=1)
        return np.asarray(np.maximum(combined, 0), np.float32)


class Shifted(torch.nn.Module):
    """The model as a function of z = x - baseline, for libraries whose masks only multiply.

    Masking z is blending with the baseline: baseline + H z = baseline + H (x - baseline).
    """

    def __init__(self, module: torch.nn.Module, baseline: Float32) -> None:
        super().__init__()
        self.module = module
        self.baseline = torch.from_numpy(baseline)

    def forward(self, difference: torch.Tensor) -> Any:
        """The module's output for the baseline plus the difference."""
        return self.module(difference + self.baseline)


def activation(
    module: torch.nn.Module, layer: torch.nn.Module, x: Float32, reshape: Reshape | None = None
) -> Float32:
    """What `layer` outputs for `x`, without the batch axis: (C, h, w).

    `reshape`, here and below, brings a layer whose channels come last to (N, C, h, w).
    """
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        module(torch.from_numpy(x))
    handle.remove()
    (output,) = seen
    return np.asarray((reshape(output) if reshape else output)[0].numpy(), np.float32)


def peer_scorecam(
    module: torch.nn.Module,
    layer: torch.nn.Module,
    x: Float32,
    baseline: Float32,
    target: Target,
    *,
    first: int | None = None,
    reshape: Reshape | None = None,
    as_shipped: bool = False,
) -> WeightedMap:
    """Score-CAM of pytorch-grad-cam.

    As shipped it
    - upsamples with corners aligned (`UpsamplingBilinear2d`), the project with half-pixel centers:
      a different mask, so different weights. `as_shipped=False` uses the half-pixel resize instead.
      Conversely, the reference can align corners: `upsample_align_corners`.
    - scales after upsampling, as the project, and adds 1e-8 to the range. So the mask of a constant
      channel is all zero, as in the project, and the mask of a channel whose range is not far above
      1e-8 gets smaller.
    - multiplies the model's input by the mask: the baseline is zero in model-input space. Another
      baseline needs a shifted model (`Shifted`).
    - subtracts no baseline score; this does not change the softmax over the channels.
    - scores with `target` as given. Its default is the raw output (`ClassifierOutputTarget`, a
      logit for most models); that of the paper and of the project is the probability.
    - clips the map at 0, min-max scales it with 1e-7 added to the range, resizes it with OpenCV,
      then scales again: none of that is here.
    """
    shown = activation(module, layer, x, reshape)[:first]
    resize: AbstractContextManager[object] = nullcontext()
    if not as_shipped:
        half_pixel = partial(torch.nn.Upsample, mode="bilinear", align_corners=False)
        resize = mock.patch.object(torch.nn, "UpsamplingBilinear2d", half_pixel)
    shifted = Shifted(module, baseline)
    with resize, torch.no_grad():
        cam = ScoreCAM(shifted, [layer])
        weights = cam.get_cam_weights(
            torch.from_numpy(x - baseline), layer, [target], shown[None], None
        )
        cam.activations_and_grads.release()
    return WeightedMap(np.asarray(weights[0], np.float32), shown)


def peer_scorecam_torchcam(
    module: torch.nn.Module,
    layer: torch.nn.Module,
    x: Float32,
    baseline: Float32,
    target: Target,
    *,
    first: int | None = None,
    reshape: Reshape | None = None,
    as_shipped: bool = False,
) -> WeightedMap:
    """Score-CAM of torch-cam.

    As shipped it
    - upsamples with half-pixel centers, as the project, but scales each channel to [0, 1] before
      that instead of after. Interpolation reduces maxima and raises minima, so the project's mask
      reaches 0 and 1, and this one does not quite. `as_shipped=False` gives it the activation
      already upsampled (`reshape_transform`), which it then scales.
    - adds 1e-8 to the range, multiplies the input (baseline zero, see `Shifted`), and subtracts
      the score of the unmasked input instead of the baseline's. This does not change the softmax
      over channels.
    - takes `class_idx` as an index into the raw output (a logit for most models); `targets`, used
      here, takes any score.
    - applies ReLU, then min-max with 1e-8 added (left out with `normalized=False`).
    """
    shown = activation(module, layer, x, reshape)[:first]
    size = (x.shape[2], x.shape[3])

    def transform(value: torch.Tensor) -> torch.Tensor:
        value = (reshape(value) if reshape else value)[:, :first]
        if as_shipped:
            return value
        return torch.nn.functional.interpolate(value, size, mode="bilinear", align_corners=False)

    shifted = Shifted(module, baseline)
    extractor = torchcam.methods.ScoreCAM(shifted, layer, reshape_transform=transform)
    with extractor, torch.no_grad():
        shifted(torch.from_numpy(x - baseline))
        (weights,) = extractor._get_weights(None, targets=target)
    return WeightedMap(np.asarray(weights[0].numpy(), np.float32), shown)


class ZeroAblation(AblationLayerVit):  # type: ignore[misc]
    """Replaces the target layer and sets one channel per sample to zero, as the paper says.

    `axis` is that of the channels. Tokens have no grid here; the channel is set to zero in all.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def __call__(self, *_inputs: torch.Tensor) -> torch.Tensor:
        """The activations, each sample with its channel ablated."""
        by_channel = self.activations.movedim(self.axis, 1)
        for sample, channel in enumerate(self.indices[: len(by_channel)]):
            by_channel[sample, channel] = 0
        return self.activations


def peer_ablationcam(
    module: torch.nn.Module,
    layer: torch.nn.Module,
    x: Float32,
    target: Target,
    *,
    first: int | None = None,
    reshape: Reshape | None = None,
    as_shipped: bool = False,
) -> WeightedMap:
    """Ablation-CAM of pytorch-grad-cam; torch-cam and captum have none.

    Weights are (S - S_k) / S, as the paper and the project. As shipped it
    - sets a channel to 0 only where the smallest value of the activation is exactly 0 (after a
      ReLU, usually); else to the batch's current minimum less 1e7, which deviates from the paper
      and, since each sample lowers that minimum, depends on the sample's place in its batch.
      `as_shipped=False` always sets 0 (`ZeroAblation`, the library's own extension point).
    - calls the replacement with one argument, so a target layer with several inputs (Concat, Add)
      fails; `ZeroAblation` takes any number.
    - runs the whole model once per channel, also the layers before the target.
    - puts the replacement into the module, and removes it only if nothing fails in between.
    - clips and rescales the map as its Score-CAM does; not here.
    """
    shown = activation(module, layer, x, reshape)[:first]
    shipped = AblationLayerVit if reshape else AblationLayer
    ablation = shipped() if as_shipped else ZeroAblation(-1 if reshape else 1)
    with torch.no_grad():
        cam = AblationCAM(module, [layer], ablation_layer=ablation)
        weights = cam.get_cam_weights(torch.from_numpy(x), layer, [target], shown[None], None)
        cam.activations_and_grads.release()
    return WeightedMap(np.asarray(weights[0], np.float32), shown)


def peer_eigencam(
    module: torch.nn.Module, layer: torch.nn.Module, x: Float32, reshape: Reshape | None = None
) -> Float32:
    """Eigen-CAM of pytorch-grad-cam, (h, w); torch-cam and captum have none.

    It subtracts each channel's mean over the cells before the SVD; the paper does not. The sign is
    whatever LAPACK returns, and the library then clips negative values: a random half of the map is
    lost. Compare with the centered reference, both with the same orientation.
    """
    return np.asarray(get_2d_projection(activation(module, layer, x, reshape)[None])[0], np.float32)


def peer_kpcacam(
    module: torch.nn.Module, layer: torch.nn.Module, x: Float32, reshape: Reshape | None = None
) -> Float32:
    """KPCA-CAM of pytorch-grad-cam, (h, w), before it clips negative values."""
    cam = KPCA_CAM(module, [layer], reshape)
    shown = activation(module, layer, x, reshape)[None].astype(np.float64)
    values = cam.get_cam_image(None, layer, None, shown, None, False)
    cam.activations_and_grads.release()
    return np.asarray(values[0], np.float32)


def peer_fem(
    module: torch.nn.Module, layer: torch.nn.Module, x: Float32, reshape: Reshape | None = None
) -> Float32:
    """FEM of pytorch-grad-cam, (h, w), before it clips negative values."""
    cam = FEM(module, [layer], reshape)
    shown = activation(module, layer, x, reshape)[None]
    values = cam.get_cam_image(None, layer, None, shown, None, False)
    cam.activations_and_grads.release()
    return np.asarray(values[0], np.float32)


def peer_cam(
    module: torch.nn.Module,
    layer: torch.nn.Module,
    linear: torch.nn.Module,
    x: Float32,
    index: int,
) -> Float32:
    """CAM of torch-cam, (h, w), with row `index` of the weights of `linear`; no bias.

    The same as the project's. Its documentation shows a ReLU, its code has none. It accepts any
    layer with a `weight` as classifier, and does not check what is between `layer` and `linear`.
    """
    extractor = torchcam.methods.CAM(module, layer, linear)
    with extractor, torch.no_grad():
        module(torch.from_numpy(x))
        (values,) = extractor(index, normalized=False)
    return np.asarray(values[0].numpy(), np.float32)


def peer_dff(shown: Float32, count: int) -> Float32:
    """Maps (count, h, w) of the library's deep feature factorization of an activation (C, h, w)."""
    _, (maps,) = dff(shown[None].copy(), n_components=count)
    return np.asarray(maps, np.float32)


def peer_occlusion(
    module: torch.nn.Module,
    x: Float32,
    target: Target,
    *,
    window: Sequence[int],
    stride: Sequence[int],
    fill: Float32,
) -> Float32:
    """Occlusion of captum, the shape of `x`.

    The same as the project's: windows start at 0, stride, 2 stride, ..., the last is clipped at the
    border, and each element gets the mean over the windows that cover it. `window` and `stride`
    have one entry per axis after the batch axis. It asserts stride <= window <= length on every
    axis.
    """

    def score(batch: torch.Tensor) -> torch.Tensor:
        return torch.stack([target(output) for output in module(batch)])

    attribution = Occlusion(score).attribute(
        torch.from_numpy(x),
        sliding_window_shapes=tuple(window),
        strides=tuple(stride),
        baselines=torch.from_numpy(fill),
        perturbations_per_eval=16,
    )
    return np.asarray(attribution.numpy(), np.float32)
