"""Positions of a picture's pixels in a model's input, and of a heatmap on the picture.

Coordinates are continuous: pixel i covers [i, i + 1) and its center is i + 0.5. Sizes are
(height, width).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxplain.errors import PictureError
from onnxplain.images import resample
from onnxplain.images.opencv import cv2
from onnxplain.images.picture import MAX_PIXELS
from onnxplain.tensors import Array, FloatArray

Size = tuple[int, int]

InputSize = tuple[int, int | None]
"""Height and width of a model's input; a width of None follows the picture's proportions."""

# These kernels do not widen, so shrinking skips pixels; only "area" averages all of them.
_OPENCV: Final[Mapping[str, str]] = {
    "nearest": "INTER_NEAREST_EXACT",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "area": "INTER_AREA",
    "lanczos": "INTER_LANCZOS4",
}
_ANTIALIASED: Final[Mapping[str, resample.Kernel]] = {
    "antialias-bilinear": resample.TRIANGLE,
    "antialias-bicubic": resample.CUBIC,
    "antialias-lanczos": resample.LANCZOS3,
}
INTERPOLATIONS: Final = (*_OPENCV, *_ANTIALIASED)
"""Names of OpenCV's filters, then of Pillow's, which torchvision and Hugging Face use too."""


@dataclass(frozen=True)
class Placement:
    """How a picture became a model's input: resized, then placed in the input at an offset.

    Per axis, x_model = x_picture * scale + offset in continuous coordinates, with
    scale = resized / picture. A negative offset crops, a positive one pads.
    """

    picture: Size
    resized: Size
    offset: Size
    model: Size

    @classmethod
    def stretch(cls, picture: Size, model: Size) -> Placement:
        """Resize to the model's size without keeping the proportions."""
        return cls(picture, model, (0, 0), model)

    @classmethod
    def crop(cls, picture: Size, model: Size, resize: int | Size) -> Placement:
        """Resize the short side to `resize` (or stretch to that size), then cut out the center.

        Rounds as torchvision's Resize and CenterCrop do. A side that is shorter than the model's
        is padded at both ends.
        """
        resized = resize if isinstance(resize, tuple) else short_side_to(picture, resize)
        top, left = (_center_crop(*axis) for axis in zip(resized, model, strict=True))
        return cls(picture, resized, (top, left), model)

    @classmethod
    def letterbox(cls, picture: Size, model: Size) -> Placement:
        """Resize to fit inside with the proportions kept, centered, the rest padded.

        Rounds as Ultralytics does: the odd pixel of padding goes below and to the right.
        """
        scale = min(new / old for new, old in zip(model, picture, strict=True))
        height, width = (max(1, round(side * scale)) for side in picture)
        top, left = round((model[0] - height) / 2 - 0.1), round((model[1] - width) / 2 - 0.1)
        return cls(picture, (height, width), (top, left), model)

    @property
    def scale(self) -> tuple[float, float]:
        """Model pixels per picture pixel, (vertical, horizontal)."""
        return self.resized[0] / self.picture[0], self.resized[1] / self.picture[1]

    def window(self, axis: int) -> slice:
        """The pixels of the model's input, along one axis, that show the picture."""
        start = self.offset[axis]
        return slice(max(start, 0), min(start + self.resized[axis], self.model[axis]))

    def shown(self, axis: int) -> slice:
        """The pixels of the resized picture, along one axis, that are in the model's input."""
        window, start = self.window(axis), self.offset[axis]
        return slice(window.start - start, window.stop - start)

    def seen(self, axis: int) -> slice:
        """The picture's pixels, along one axis, of which the model saw at least a part."""
        shown, old, new = self.shown(axis), self.picture[axis], self.resized[axis]
        return slice(shown.start * old // new, -(-shown.stop * old // new))

    def covered(self) -> NDArray[np.bool_]:
        """Mask (H, W) of the picture: True where the model saw at least a part of the pixel."""
        mask = np.zeros(self.picture, bool)
        mask[self.seen(0), self.seen(1)] = True
        return mask

    def to_picture(self, heat: Array) -> FloatArray:
        """Map a heatmap of the model's input (h, w) back to the picture: (H, W) float32.

        Along an axis on which the picture was enlarged, values are averaged; otherwise they are
        interpolated linearly. Values on padding are not used. Pixels that were cropped away, so
        that the model saw nothing of them, are 0.

        Raises ValueError for a map of another shape.
        """
        if heat.shape != self.model:
            raise ValueError(f"expected a map of shape {self.model}, got {heat.shape}")
        return self.on_canvas(self.on_seen(heat))

    def on_seen(self, grid: Array) -> FloatArray:
        """Map a grid of any size over the model's input back to the pixels in `seen`.

        Same result as `to_picture(upsample(grid, model))` there, without the intermediate maps.
        """
        rows, columns = (_back(self, axis, size) for axis, size in enumerate(grid.shape))
        return columns.apply(rows.apply(grid, 0), 1)

    def on_canvas(self, seen: FloatArray) -> FloatArray:
        """Extend a map of the pixels in `seen` to the whole picture; other pixels are 0."""
        if seen.shape == self.picture:
            return seen
        canvas = np.zeros(self.picture, np.float32)
        canvas[self.seen(0), self.seen(1)] = seen
        return canvas


@functools.lru_cache(maxsize=64)
def _back(placement: Placement, axis: int, grid: int) -> resample.Taps:
    """Taps from the cells of a grid over the model's input to the picture's pixels in `seen`."""
    window, seen = placement.window(axis), placement.seen(axis)
    size, model = window.stop - window.start, placement.model[axis]
    edges = np.arange(seen.start, seen.stop + 1) * placement.scale[axis]
    edges -= placement.shown(axis).start
    if placement.resized[axis] > placement.picture[axis]:
        from_window = resample.area(size, edges)
    else:
        from_window = resample.linear(size, (edges[:-1] + edges[1:]) / 2)
    centers = (np.arange(window.start, window.stop) + 0.5) * grid / model
    return from_window.after(resample.linear(grid, centers))


def short_side_to(picture: Size, short: int) -> Size:
    """The size whose short side is `short`; the long side is rounded down, as in torchvision."""
    height, width = (short * side // min(picture) for side in picture)
    return height, width


def resize_and_place(
    picture: Array, placement: Placement, interpolation: str, pad: float
) -> FloatArray:
    """Resize a picture (H, W, 3) in 0..255 and place it in the model's input (h, w, 3).

    `interpolation` is one of INTERPOLATIONS; `pad` (0..255) fills the area around the picture.
    Results of a filter outside 0..255 are clipped, as in 8-bit pipelines.

    Raises PictureError if the resized picture would have more than MAX_PIXELS pixels.
    """
    height, width = placement.resized
    if height * width > MAX_PIXELS:
        raise PictureError(
            f"A picture of {placement.picture[1]} x {placement.picture[0]} pixels is too "
            "elongated for its short side to be resized: crop it to the relevant part, or use "
            "fit 'letterbox' or 'stretch'."
        )
    shown = _resized_part(picture, placement, interpolation)
    np.clip(shown, 0, 255, out=shown)
    if shown.shape[:2] == placement.model:
        return shown
    canvas = np.full((*placement.model, 3), pad, np.float32)
    canvas[placement.window(0), placement.window(1)] = shown
    return canvas


def upsample(maps: Array, size: Size) -> FloatArray:
    """Resize maps (..., gh, gw) to (..., h, w) float32, bilinearly with half-pixel centers.

    Beyond the outermost centers the outermost value is repeated, as in OpenCV's INTER_LINEAR.
    """
    grids = np.ascontiguousarray(maps, np.float32).reshape(-1, *maps.shape[-2:])
    out = np.empty((len(grids), *size), np.float32)
    for grid, target in zip(grids, out, strict=True):
        cv2.resize(grid, size[::-1], dst=target, interpolation=cv2.INTER_LINEAR)
    return out.reshape(*maps.shape[:-2], *size)


def _center_crop(resized: int, model: int) -> int:
    """Offset of a center crop, or of a centered picture that is too small to crop."""
    return -round((resized - model) / 2) if resized >= model else (model - resized) // 2


def _resized_part(picture: Array, placement: Placement, interpolation: str) -> FloatArray:
    """The part of the resized picture that the model's input shows."""
    rows, columns = placement.shown(0), placement.shown(1)
    size, kernel = placement.resized, _ANTIALIASED.get(interpolation)
    if kernel is not None:
        down, read_rows = _part(picture.shape[0], size[0], kernel, rows.start, rows.stop)
        across, read_columns = _part(picture.shape[1], size[1], kernel, columns.start, columns.stop)
        return across.apply(down.apply(picture[read_rows, read_columns], 0), 1)
    # As float32, because OpenCV would round a resized uint8 picture to integers.
    resized: FloatArray = cv2.resize(
        picture.astype(np.float32, copy=False),
        size[::-1],
        interpolation=getattr(cv2, _OPENCV[interpolation]),
    )
    return resized[rows, columns]


@functools.lru_cache(maxsize=64)
def _part(
    size: int, new_size: int, kernel: resample.Kernel, start: int, stop: int
) -> tuple[resample.Taps, slice]:
    """Taps of the resized pixels from `start` to `stop`, and the source pixels that they read."""
    return resample.antialiased(size, new_size, kernel).part(slice(start, stop))
