"""Grad-CAM and similar methods from the papers' formulas, cell by cell in float64.

Everywhere: `a` is an activation (C, h, w) and `g` the gradient of the score at `a`; maps are
(h, w), unscaled.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd

from .layer import cam
from .resize import Float64


def rectified(values: Float64) -> Float64:
    """ReLU."""
    return np.where(values > 0, values, 0.0)


def gradcam(a: Float64, g: Float64) -> Float64:
    """Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2, without the ReLU."""
    _, height, width = a.shape
    return cam(a, np.array([channel.sum() / (height * width) for channel in g]))


def gradcam_plus_plus_weights(
    a: Float64, second: Float64, third: Float64, first: Float64
) -> Float64:
    """Chattopadhay et al. 2018, arXiv:1710.11063, equations 9 and 19.

    `second` and `third` are the squares and cubes of the gradient. With Y = exp(S) every derivative
    has one factor exp(S), which cancels in alpha. The factor in the weights is left out.
    """
    weights = np.zeros(len(a))
    for k, (channel, d2, d3, d1) in enumerate(zip(a, second, third, first, strict=True)):
        total = float(channel.sum())
        for place in np.ndindex(*channel.shape):
            below = 2 * d2[place] + total * d3[place]
            alpha = d2[place] / below if below else 0.0
            weights[k] += alpha * max(d1[place], 0.0)
    return weights


def gradcam_plus_plus(a: Float64, g: Float64) -> Float64:
    """ReLU of the weighted sum."""
    return rectified(cam(a, gradcam_plus_plus_weights(a, g**2, g**3, g)))


def smooth_gradcam_plus_plus(
    activations: Sequence[Float64], gradients: Sequence[Float64]
) -> Float64:
    """Omeiza et al. 2019, arXiv:1908.01224, equations 5 to 7: one of each per noisy copy."""
    a = np.mean(activations, axis=0)
    first, second, third = (np.mean([g**power for g in gradients], axis=0) for power in (1, 2, 3))
    return rectified(cam(a, gradcam_plus_plus_weights(a, second, third, first)))


def xgradcam(a: Float64, g: Float64) -> Float64:
    """Fu et al. 2020, arXiv:2008.02312, equation 8."""
    weights = []
    for channel, slopes in zip(a, g, strict=True):
        total = channel.sum()
        shares = channel / total if total else np.zeros_like(channel)
        weights.append((shares * slopes).sum())
    return rectified(cam(a, np.array(weights)))


def hirescam(a: Float64, g: Float64) -> Float64:
    """Draelos and Carin 2020, arXiv:2011.08891: no averaging over the cells."""
    total = np.zeros(a.shape[1:])
    for channel, slopes in zip(a, g, strict=True):
        total += channel * slopes
    return total


def layercam(a: Float64, g: Float64) -> Float64:
    """Jiang et al. 2021, equations 6 and 7."""
    return rectified(hirescam(a, rectified(g)))


def eigengradcam(a: Float64, g: Float64) -> Float64:
    """The product on its first right singular vector, with the sign of the sum over channels."""
    table = (a * g).reshape(len(a), -1).T
    _, _, directions = svd(table, full_matrices=False)
    image: NDArray[np.float64] = (table @ directions[0]).reshape(a.shape[1:])
    return image if (image * hirescam(a, g)).sum() >= 0 else -image


def principal_sum(products: Float64) -> Float64:
    """Gildenblat et al. 2021, pytorch-grad-cam's eigen_smooth of w_k A^k, (C, h, w).

    The direction is that of the largest eigenvalue of the covariance of the channels over the
    cells. Its sign is that with which the map agrees with the sum over channels.
    """
    centered = np.stack([channel.ravel() - channel.mean() for channel in products])
    _, directions = np.linalg.eigh(centered @ centered.T)
    values = (directions[:, -1] @ centered).reshape(products.shape[1:])
    agrees = (values * products.sum(axis=0)).sum() >= 0
    return values if agrees else -values
