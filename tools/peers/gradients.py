# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return"
"""Gradients at and around a sample, by captum and by PAIR's saliency.

Versions read and run: captum 0.9.0, saliency 0.2.1.

`module` takes (N, ...) and returns scores (N, K); `index` is the class. Random numbers are
arguments: `noises` (n, ...) are added to the sample, `starts` (n, ...) and `shares` (n,) are the
draws of expected gradients.
"""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from captum.attr import (
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

CAPTUM_RULES = {
    "gauss-legendre": "gausslegendre",
    "riemann-left": "riemann_left",
    "riemann-right": "riemann_right",
    "riemann-middle": "riemann_middle",
    "riemann-trapezoid": "riemann_trapezoid",
}


def peer_gradient(module: torch.nn.Module, x: Float32, index: int) -> Float32:
    """Saliency of captum, without the absolute value that it takes by default."""
    return _plain(Saliency(module).attribute(_input(x), target=index, abs=False))


def peer_input_x_gradient(module: torch.nn.Module, x: Float32, index: int) -> Float32:
    """InputXGradient of captum."""
    return _plain(InputXGradient(module).attribute(_input(x), target=index))


def peer_noise(
    module: torch.nn.Module, x: Float32, index: int, kind: str, noises: Float32
) -> Float32:
    """NoiseTunnel of captum over plain gradients, with this noise instead of its own.

    Its sigma is a number that the user gives; the project's is a fraction of the input's range.
    `vargrad` is a difference of float32 means, which loses small variances.
    """
    tunnel = NoiseTunnel(Saliency(module))
    ready: Iterator[torch.Tensor] = iter(torch.from_numpy(noises).split(1))
    with mock.patch.object(torch, "normal", lambda *_: next(ready)):
        values = tunnel.attribute(
            _input(x),
            nt_type=kind,
            nt_samples=len(noises),
            nt_samples_batch_size=1,
            target=index,
            abs=False,
        )
    return _plain(values)


def peer_integrated_gradients(
    module: torch.nn.Module,
    x: Float32,
    baseline: Float32,
    index: int,
    rule: str,
    steps: int,
    *,
    as_shipped: bool = False,
) -> Float32:
    """IntegratedGradients of captum.

    The weights of its trapezoid rule add up to 1 − 1/steps: `as_shipped=False` corrects this.
    """
    values = IntegratedGradients(module).attribute(
        _input(x),
        baselines=_input(baseline),
        target=index,
        n_steps=steps,
        method=CAPTUM_RULES[rule],
        internal_batch_size=8,
    )
    shrunk = rule == "riemann-trapezoid" and not as_shipped
    return _plain(values) * np.float32(steps / (steps - 1) if shrunk else 1)


def peer_expected_gradients(
    module: torch.nn.Module, x: Float32, index: int, starts: Float32, shares: Float32
) -> Float32:
    """GradientShap of captum without its noise, with these draws instead of its own."""
    count = len(starts)
    with (
        mock.patch.object(np.random, "choice", lambda *_: np.arange(count)),
        mock.patch.object(np.random, "uniform", lambda *_: shares.astype(np.float64)),
    ):
        values = GradientShap(module).attribute(
            _input(x), baselines=_input(starts), n_samples=count, stdevs=0.0, target=index
        )
    return _plain(values)


def peer_guided_ig(
    module: torch.nn.Module, x: Float32, baseline: Float32, index: int, steps: int
) -> Float32:
    """GuidedIG of saliency, as the project's; it needs the `numpy.quantile` before NumPy 2.4."""
    import saliency.core as saliency

    quantile: Any = np.quantile

    def older(*arguments: Any, interpolation: str = "linear", **options: Any) -> Any:
        return quantile(*arguments, method=interpolation, **options)

    with mock.patch.object(np, "quantile", older):
        return saliency.GuidedIG().GetMask(
            x[0], _call(module, index), x_baseline=baseline[0], x_steps=steps
        )


def peer_blur_ig(
    module: torch.nn.Module,
    x: Float32,
    index: int,
    steps: int,
    blur: Any,
    *,
    as_shipped: bool = False,
) -> Float32:
    """BlurIG of saliency.

    As shipped it blurs with a sampled Gaussian, cut off at 4 sigma, with zeros beyond the borders.
    Its derivative with respect to sigma is a difference over 0.01. `as_shipped=False` replaces this
    by `blur`, a function of (rows, columns, channels) and sigma, and by a difference over 1e-6. Its
    steps are sigma = 0, 50/steps, ..., which is the project's riemann-right.
    """
    from saliency.core import blur_ig

    call = _call(module, index)

    def channels_last(batch: Any, call_model_args: Any = None, expected_keys: Any = None) -> Any:
        found = call(np.moveaxis(batch, -1, 1))
        return {key: np.moveaxis(value, 1, -1) for key, value in found.items()}

    picture = np.moveaxis(x[0], 0, -1)
    swapped = blur_ig.gaussian_blur if as_shipped else blur
    with mock.patch.object(blur_ig, "gaussian_blur", swapped):
        values = blur_ig.BlurIG().GetMask(
            picture.astype(np.float64),
            channels_last,
            max_sigma=50,
            steps=steps,
            grad_step=0.01 if as_shipped else 1e-6,
        )
    return np.moveaxis(values, -1, 0)


def _call(module: torch.nn.Module, index: int) -> Any:
    """The function that saliency calls: gradients at a batch of inputs."""

    def gradients(batch: Any, call_model_args: Any = None, expected_keys: Any = None) -> Any:
        point = torch.from_numpy(np.asarray(batch, np.float32)).requires_grad_()
        (found,) = torch.autograd.grad(module(point)[:, index].sum(), point)
        return {"INPUT_OUTPUT_GRADIENTS": found.numpy().astype(np.float64)}

    return gradients


def _input(x: Float32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def _plain(values: Any) -> Float32:
    return np.asarray(values.detach().numpy()[0], np.float32)
