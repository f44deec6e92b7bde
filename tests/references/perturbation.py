"""Score-CAM, occlusion and RISE: change the input, and measure the score.

Everywhere: `x` is one sample (1, C, H, W) float32, `baseline` and `fill` have its shape, and
`score` maps such an array to one number. `score` gets float32, everything else is float64.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from .resize import Float64, Upsample, interpolation_matrix, upsample_half_pixel

Float32 = NDArray[np.float32]
Score = Callable[[Float32], float]


def blend(x: Float32, baseline: Float32, mask: Float64) -> Float32:
    """The picture where the mask is 1, the baseline where it is 0: x' + M (x - x')."""
    blended = baseline + mask * (x.astype(np.float64) - baseline)
    return blended.astype(np.float32)


# --- Score-CAM: Wang et al. 2020, arXiv:1910.01279, definitions 2 and 3 -------------------------


def scorecam_mask(
    channel: Float64, size: tuple[int, int], upsample: Upsample = upsample_half_pixel
) -> Float64:
    """H_k (H, W): the channel (h, w) upsampled, then scaled to [0, 1]; 0 if it is constant.

    Whether it is constant is checked on the channel itself: interpolation adds rounding errors to a
    constant, and scaling by minimum and maximum would turn them into a mask.
    """
    if channel.min() == channel.max():
        return np.zeros(size)
    upsampled = upsample(channel, size)
    return np.asarray((upsampled - upsampled.min()) / (upsampled.max() - upsampled.min()))


def scorecam_increases(
    activation: NDArray[np.floating],
    x: Float32,
    baseline: Float32,
    score: Score,
    upsample: Upsample = upsample_half_pixel,
) -> Float64:
    """C_k (C,) = S(x' + H_k (x - x')) - S(x') for every channel of `activation` (C, h, w)."""
    score_of_baseline = score(baseline)
    increases = []
    for channel in activation.astype(np.float64):
        mask = scorecam_mask(channel, (x.shape[2], x.shape[3]), upsample)
        increases.append(score(blend(x, baseline, mask)) - score_of_baseline)
    return np.array(increases)


def scorecam(
    activation: NDArray[np.floating],
    x: Float32,
    baseline: Float32,
    score: Score,
    upsample: Upsample = upsample_half_pixel,
) -> Float64:
    """ReLU(sum_k softmax(C)_k A_k), (h, w)."""
    weights = softmax(scorecam_increases(activation, x, baseline, score, upsample))
    combined = np.zeros(activation.shape[1:])
    for weight, channel in zip(weights, activation, strict=True):
        combined += weight * channel
    return np.maximum(combined, 0.0)


# --- Occlusion: Zeiler and Fergus 2013, arXiv:1311.2901 -----------------------------------------


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """0, stride, 2 stride, ... up to and including the first window that reaches the end."""
    if not 0 < stride <= window:
        raise ValueError("a stride above the window would leave elements uncovered")
    starts = [0]
    while starts[-1] + window < length:
        starts.append(starts[-1] + stride)
    return starts


def occlusion(
    x: NDArray[np.float32],
    score: Score,
    window: Sequence[int],
    stride: Sequence[int],
    fill: NDArray[np.float32],
) -> Float64:
    """S(x) - S(x with the window filled), averaged over the windows that cover each element.

    `window` and `stride` have one entry per axis of `x` after the batch axis, so (C, 15, 15) hides
    all channels of a square at once and (1, 15, 15) one channel at a time. Windows are clipped at
    the border. Returns the shape of `x`, which may have any rank.
    """
    lengths = x.shape[1:]
    axes = [window_starts(*axis) for axis in zip(lengths, window, stride, strict=True)]
    score_of_x = score(x)
    total = np.zeros(x.shape)
    count = np.zeros(x.shape)
    for starts in product(*axes):
        spans = (slice(a, a + size) for a, size in zip(starts, window, strict=True))
        place = (slice(None), *spans)
        occluded = x.copy()
        occluded[place] = fill[place]
        total[place] += score_of_x - score(occluded)
        count[place] += 1
    return total / count


# --- RISE: Petsiuk et al. 2018, arXiv:1806.07421, equation 6 and section 3.2 --------------------


def rise(
    x: Float32, baseline: Float32, score: Score, masks: NDArray[np.floating], p: float
) -> Float64:
    """Map (H, W) = sum_i S(x' + M_i (x - x')) M_i / (n p) for `masks` (n, H, W) in [0, 1].

    `p` is the probability that a cell is kept, the expectation of every mask pixel.
    """
    total = np.zeros(masks.shape[1:])
    for mask in masks.astype(np.float64):
        total += score(blend(x, baseline, mask)) * mask
    return total / (len(masks) * p)


def rise_masks(
    count: int, cells: int, p: float, size: tuple[int, int], rng: np.random.Generator
) -> Float64:
    """Masks (count, H, W) as in section 3.2 of the paper.

    A `cells` x `cells` grid of Bernoulli(p) values is upsampled to (cells + 1) cell sizes and
    cropped to (H, W) at an offset drawn uniformly below one cell size, with cell size = ceil(H /
    cells) and likewise for W.
    """
    height, width = size
    cell_height, cell_width = -(-height // cells), -(-width // cells)
    masks = np.zeros((count, height, width))
    for i in range(count):
        grid = (rng.random((cells, cells)) < p).astype(np.float64)
        large = upsample_half_pixel(grid, ((cells + 1) * cell_height, (cells + 1) * cell_width))
        top, left = rng.integers(cell_height), rng.integers(cell_width)
        masks[i] = large[top : top + height, left : left + width]
    return masks


def seeded_rise_masks(
    samples: int, grid: int, keep: float, seed: int, size: tuple[int, int]
) -> Float64:
    """Masks (samples, H, W), drawn as the method's docstring says."""
    random = np.random.default_rng(seed)
    grids = (random.random((samples, grid, grid)) < keep).astype(np.float64)
    cells = [-(-side // grid) for side in size]
    tops, lefts = (random.integers(0, cell, (samples, 1, 1)).ravel() for cell in cells)
    masks = np.empty((samples, *size))
    for mask, cell_values, top, left in zip(masks, grids, tops, lefts, strict=True):
        large = upsample_half_pixel(cell_values, ((grid + 1) * cells[0], (grid + 1) * cells[1]))
        mask[:] = large[top : top + size[0], left : left + size[1]]
    return masks


def rise_second_moment(size: tuple[int, int], cells: int, p: float) -> Float64:
    """E[M_q M_r] (H W, H W) of the masks that `rise_masks` draws.

    A mask pixel is sum_c u_c(q) B_c with B_c ~ Bernoulli(p) independent and sum_c u_c(q) = 1, so
    E[M_q M_r] = p^2 + p (1 - p) E[sum_c u_c(q) u_c(r)], the outer expectation over the offset.
    Bilinear weights are a product of a row part and a column part, and so are the two offsets.
    """
    kernels = []
    for length in size:
        cell = -(-length // cells)
        weights = interpolation_matrix(cells, (cells + 1) * cell)
        kernel = np.zeros((length, length))
        for offset in range(cell):
            shown = weights[offset : offset + length]
            kernel += shown @ shown.T / cell
        kernels.append(kernel)
    return np.asarray(p**2 + p * (1 - p) * np.kron(kernels[0], kernels[1]), np.float64)


def rise_expectation_linear(
    gradient: NDArray[np.floating],
    x: Float32,
    baseline: Float32,
    *,
    score_of_baseline: float,
    mean: NDArray[np.floating],
    second_moment: NDArray[np.floating],
    p: float,
) -> Float64:
    """The map of `rise` for S(x) = a + <gradient, x>, (H, W).

    S(x' + M (x - x')) = S(x') + sum_q d_q M_q with d = sum over channels of gradient (x - x'), so
    E[S M_r] / p = (S(x') E[M_r] + sum_q d_q E[M_q M_r]) / p.
    With the moments of the distribution (`mean` = p everywhere, `rise_second_moment`) this is the
    expectation over all masks; with the sample moments of given masks it is their map exactly.

    Shapes: gradient, x, baseline (1, C, H, W); mean (H, W); second_moment (H W, H W).
    """
    pull = (gradient * (x.astype(np.float64) - baseline)).sum(axis=(0, 1))
    expected = score_of_baseline * mean.ravel() + second_moment @ pull.ravel()
    return np.asarray(expected.reshape(mean.shape) / p)
