"""CAM, Ablation-CAM, Recipro-CAM, Eigen-CAM, KPCA-CAM and FEM: maps from one layer's activation.

Everywhere: `activation` is one sample (C, h, w), and `head` maps a changed copy of it (1, C, h, w)
float32 to the score. Maps are (h, w) float64, unscaled.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, svd

from .resize import Float64

Activation = NDArray[np.floating]
Head = Callable[[NDArray[np.float32]], float]
Isolate = Callable[[Float64, int, int], Float64]

GAUSSIAN = np.outer([1, 2, 1], [1, 2, 1]) / 16


def _call(head: Head, activation: Activation) -> float:
    return float(head(activation[None].astype(np.float32)))


# --- CAM: Zhou et al. 2016, arXiv:1512.04150, equation 2 ----------------------------------------


def cam(activation: Activation, weights: NDArray[np.floating]) -> Float64:
    """sum_k w_k A_k with `weights` (C,), the classifier's row for the class. Signed, no bias.

    The map is the same for both poolings, but has a different meaning. After global average pooling
    its mean plus the bias is the logit (`gap_logit`). After global max pooling the logit is
    sum_k w_k max A_k (`gmp_logit`), which cannot be computed from the map.
    """
    combined = np.zeros(activation.shape[1:])
    for weight, channel in zip(weights, activation, strict=True):
        combined += float(weight) * channel
    return combined


def gap_logit(activation: Activation, weights: NDArray[np.floating], bias: float = 0.0) -> float:
    """Logit of global average pooling and a linear layer."""
    return float(sum(w * a.mean() for w, a in zip(weights, activation, strict=True)) + bias)


def gmp_logit(activation: Activation, weights: NDArray[np.floating], bias: float = 0.0) -> float:
    """Logit of global max pooling and a linear layer."""
    return float(sum(w * a.max() for w, a in zip(weights, activation, strict=True)) + bias)


# --- Ablation-CAM: Desai and Ramaswamy 2020, WACV, equations 3 and 4 ----------------------------


def ablationcam_weights(activation: Activation, head: Head) -> Float64:
    """w_k (C,) = (S - S with channel k set to zero) / S."""
    score = _call(head, activation)
    weights = []
    for k in range(len(activation)):
        ablated = activation.copy()
        ablated[k] = 0
        weights.append((score - _call(head, ablated)) / score)
    return np.array(weights)


def ablationcam(activation: Activation, head: Head) -> Float64:
    """ReLU(sum_k w_k A_k)."""
    return np.maximum(cam(activation, ablationcam_weights(activation, head)), 0.0)


# --- Recipro-CAM: Byun and Lee 2022, arXiv:2209.14074 -------------------------------------------


def keep_cell(activation: Float64, row: int, column: int) -> Float64:
    """Keep all channels of one cell, zero the rest: the method as published.

    The authors' released code (the one that the paper links, and the later repository of the 2024
    workshop version) runs exactly this; their Gaussian is an option that is off in both.
    """
    kept = np.zeros_like(activation)
    kept[:, row, column] = activation[:, row, column]
    return kept


def spread_cell(activation: Float64, row: int, column: int) -> Float64:
    """The Gaussian option of the authors' code: the cell's own vector, spread over 3 x 3 cells.

    The neighbors' activations are not used; the window is cut off at the border.
    """
    return _through_window(activation, row, column, activation[:, row, column, None, None])


def window_cell(activation: Float64, row: int, column: int) -> Float64:
    """A 3 x 3 Gaussian as mask over the activation, as in ViT Recipro-CAM's code.

    Each neighbor keeps its own vector, weighted; the window is cut off at the border.
    """
    return _through_window(activation, row, column, activation)


def _through_window(activation: Float64, row: int, column: int, content: Float64) -> Float64:
    _, height, width = activation.shape
    mask = np.zeros((height, width))
    for i in range(max(row - 1, 0), min(row + 2, height)):
        for j in range(max(column - 1, 0), min(column + 2, width)):
            mask[i, j] = GAUSSIAN[i - row + 1, j - column + 1]
    return np.asarray(mask * content)


def reciprocam(activation: Activation, head: Head, isolate: Isolate = keep_cell) -> Float64:
    """The score of each cell on its own, (h, w). No ReLU, no scaling.

    The paper and its code take the softmax probability as the score, then scale the map to its
    minimum and maximum. With a logit as score and global average pooling plus one linear layer as
    head, the map is cam / (h w) + bias, so it looks the same as CAM.
    """
    _, height, width = activation.shape
    scores = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            scores[row, column] = _call(head, isolate(activation.astype(np.float64), row, column))
    return scores


# --- Eigen-CAM: Muhammad and Yeasin 2020, arXiv:2008.00299 --------------------------------------


def orient(image: Float64) -> Float64:
    """A singular vector has no sign: choose the one whose largest magnitude is positive."""
    return image if image.flat[np.abs(image).argmax()] >= 0 else -image


def eigencam(activation: Activation, *, center: bool = False) -> Float64:
    """The activation (h w, C) projected on its first right singular vector, (h, w), oriented.

    The paper factorizes the activation itself, O = U S V^T, and shows O v_1. pytorch-grad-cam
    first subtracts each channel's mean over the cells (`center=True`), which makes it the first
    true principal component and another map. If the activation is not negative (after a ReLU), the
    uncentered map has only one sign, and `orient` makes it positive; the centered map sums to zero.
    """
    channels, height, width = activation.shape
    table = activation.astype(np.float64).reshape(channels, height * width).T
    if center:
        table = table - table.mean(axis=0)
    _, _, directions = svd(table, full_matrices=False)
    return orient((table @ directions[0]).reshape(height, width))


# --- KPCA-CAM: Karmani et al. 2024 --------------------------------------------------------------


def kpcacam(activation: Activation) -> Float64:
    """The first component of kernel PCA of the cells, (h, w), with the largest size positive.

    The cells are points; each entry of the kernel is tanh(x_i . x_j / channels + 1), where x is the
    cell minus the mean of all cells. The centered kernel is that of points whose mean is 0 in the
    space of the kernel.
    """
    channels, height, width = activation.shape
    points = activation.astype(np.float64).reshape(channels, height * width).T
    points = points - points.mean(axis=0)
    count = len(points)
    kernel = np.zeros((count, count))
    for i, one in enumerate(points):
        for j, other in enumerate(points):
            kernel[i, j] = np.tanh(one @ other / channels + 1)
    centering = np.eye(count) - np.full((count, count), 1 / count)
    values, vectors = eigh(centering @ kernel @ centering)
    return orient((np.sqrt(values[-1]) * vectors[:, -1]).reshape(height, width))


# --- FEM: Fuad et al. 2020, IPTA ----------------------------------------------------------------


def fem(activation: Activation, deviations: float = 2) -> Float64:
    """sum_k w_k A_k, w_k = the share of cells above mean_k + deviations * std_k, (h, w)."""
    weights = []
    for channel in activation.astype(np.float64):
        threshold = channel.mean() + deviations * channel.std()
        weights.append(sum(value > threshold for value in channel.flat) / channel.size)
    return cam(activation, np.array(weights))
