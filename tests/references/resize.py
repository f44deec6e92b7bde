"""Bilinear interpolation from its formula: for each output pixel, two neighbors per axis."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Upsample = Callable[[Float64, tuple[int, int]], Float64]


def half_pixel(i: int, size_in: int, size_out: int) -> float:
    """Source coordinate where pixel centers lie at 0.5, 1.5, ... (ONNX `half_pixel`, OpenCV)."""
    return (i + 0.5) * size_in / size_out - 0.5


def align_corners(i: int, size_in: int, size_out: int) -> float:
    """Source coordinate where the outermost pixel centers of both grids coincide."""
    return i * (size_in - 1) / (size_out - 1) if size_out > 1 else 0.0


def interpolation_matrix(
    size_in: int, size_out: int, source: Callable[[int, int, int], float] = half_pixel
) -> Float64:
    """Weights (size_out, size_in) of linear interpolation; beyond the edge the edge repeats."""
    matrix = np.zeros((size_out, size_in))
    for i in range(size_out):
        position = min(max(source(i, size_in, size_out), 0.0), size_in - 1.0)
        left = int(np.floor(position))
        right = min(left + 1, size_in - 1)
        matrix[i, left] += 1.0 - (position - left)
        matrix[i, right] += position - left
    return matrix


def upsample_half_pixel(image: Float64, size: tuple[int, int]) -> Float64:
    """Resize (h, w) to `size` = (H, W), half-pixel centers, edge clamped, as the project does."""
    rows = interpolation_matrix(image.shape[0], size[0])
    columns = interpolation_matrix(image.shape[1], size[1])
    return rows @ image @ columns.T


def upsample_align_corners(image: Float64, size: tuple[int, int]) -> Float64:
    """Resize (h, w) to `size` = (H, W) with corners aligned, as pytorch-grad-cam's Score-CAM."""
    rows = interpolation_matrix(image.shape[0], size[0], align_corners)
    columns = interpolation_matrix(image.shape[1], size[1], align_corners)
    return rows @ image @ columns.T
