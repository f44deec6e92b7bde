"""From a picture's pixels to a model's input tensor, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from onnxplain.errors import PreprocessError
from onnxplain.images.geometry import (
    INTERPOLATIONS,
    InputSize,
    Placement,
    Size,
    resize_and_place,
    short_side_to,
)
from onnxplain.images.settings import parse_settings
from onnxplain.tensors import Array, FloatArray

# The weights of gray are those of ITU-R BT.601, as in OpenCV and Pillow.
GRAY: Final = np.array([0.299, 0.587, 0.114], np.float32)
_CHANNELS: Final[Mapping[str, int]] = {"RGB": 3, "BGR": 3, "GRAY": 1}
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "layout": ("NCHW", "NHWC"),
    "channels": tuple(_CHANNELS),
    "fit": ("stretch", "crop", "letterbox"),
    "interpolation": INTERPOLATIONS,
}

_TRIAL_SIDE: Final = 224
_TRIAL_WIDTH: Final = 320
"""Of a picture to try a model with whose width follows the picture: a line of text."""


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes a model's input: tensor = (v * scale - mean) / std, v in 0..255.

    size: (height, width) of the model's input, or None if the model takes the picture at its
        own size (after `resize` of the short side, if given). A width of None follows the height
        and the picture's own proportions, rounded up, as for lines of text.
    layout: "NCHW" or "NHWC".
    channels: "RGB", "BGR" or "GRAY"; also the order of `mean` and `std`.
    fit: "stretch" to the size, "crop" the center of a resized picture, or "letterbox" (the whole
        picture with its proportions kept; the rest is filled with `pad`).
    resize: the size before the crop: of the short side, or (height, width) to stretch to. None
        means the short side of `size`.
    interpolation: one of `geometry.INTERPOLATIONS`.
    scale, mean, std: as in the formula; mean and std hold one number, or one per channel.
    pad: value in 0..255 around a picture that does not fill the model's input.
    dtype: type of the model's input; integers are rounded and clipped to its range.
    origin: where these settings come from, in words.
    multiple: where pictures keep their own size, each side becomes the nearest multiple of this.

    Raises PreprocessError if values are out of range or contradict each other.
    """

    size: InputSize | None
    layout: str = "NCHW"
    channels: str = "RGB"
    fit: str = "stretch"
    resize: int | Size | None = None
    interpolation: str = "bilinear"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pad: float = 0.0
    dtype: np.dtype[Any] = np.dtype(np.float32)  # noqa: RUF009 - a dtype cannot change
    origin: str = "given"
    multiple: int = 1

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise PreprocessError(
                    f"Preprocessing from {self.origin} has {getattr(self, name)!r} as {name}: "
                    f"it is one of {', '.join(known)}."
                )
        for problem, found in self._contradictions().items():
            if found:
                raise PreprocessError(f"Preprocessing from {self.origin} {problem}.")

    def _contradictions(self) -> dict[str, bool]:
        """Each possible problem, as the end of a sentence, and whether it is present."""
        resize = self.resize if isinstance(self.resize, tuple) else (self.resize,)
        sides = [side for side in (*(self.size or ()), *resize) if side is not None]
        numbers = (self.scale, *self.mean, *self.std)
        return {
            "has a size or resize below one pixel": min(sides, default=1) < 1,
            "has no size, so pictures keep their own: use fit 'stretch', and as resize only the "
            "short side or nothing": self.size is None
            and (self.fit != "stretch" or isinstance(self.resize, tuple)),
            "has a width of auto, so that pictures keep their proportions: use fit 'stretch'": (
                self.width_follows and self.fit != "stretch"
            ),
            f"has {len(self.mean)} values of mean and {len(self.std)} of std for "
            f"{self.channel_count} channel(s) of {self.channels}": not (
                {len(self.mean), len(self.std)} <= {1, self.channel_count}
            ),
            "has a scale, mean or std that is not finite": not all(map(math.isfinite, numbers)),
            "has a scale or std of zero": 0 in (self.scale, *self.std),
            "has a multiple below 1": self.multiple < 1,
            "has a pad outside 0..255": not 0 <= self.pad <= 255,
        }

    @property
    def channel_count(self) -> int:
        """How many channels the model's input has."""
        return _CHANNELS[self.channels]

    @property
    def width_follows(self) -> bool:
        """Whether the width follows the height and the picture's own proportions."""
        return self.size is not None and self.size[1] is None

    @property
    def varies(self) -> bool:
        """Whether pictures of different sizes become inputs of different sizes."""
        return self.size is None or self.width_follows

    @property
    def trial_size(self) -> Size:
        """The size of pictures to try the model with."""
        height, width = self.size or (_TRIAL_SIDE, _TRIAL_SIDE)
        return height, _TRIAL_WIDTH if width is None else width

    def place(self, picture: Size) -> Placement:
        """Where the pixels of a picture of this size (height, width) are in the input."""
        if self.size is None:
            short = self.resize if isinstance(self.resize, int) else min(picture)
            rows, columns = (
                max(1, round(side / self.multiple)) * self.multiple
                for side in short_side_to(picture, short)
            )
            return Placement.stretch(picture, (rows, columns))
        height, width = self.size
        size = height, math.ceil(height * picture[1] / picture[0]) if width is None else width
        if self.fit == "crop":
            return Placement.crop(picture, size, self.resize or min(size))
        fit = Placement.letterbox if self.fit == "letterbox" else Placement.stretch
        return fit(picture, size)

    def apply(self, picture: Array) -> tuple[Array, Placement]:
        """Turn a picture, (H, W, 3) RGB in 0..255, uint8 or float32, into the model's input.

        Returns the tensor, (1, C, h, w) or (1, h, w, C) of `dtype`, and the placement, which maps
        a heatmap of the tensor back to the picture. Raises PictureError if the resized picture
        would be too large.
        """
        height, width = picture.shape[:2]
        placement = self.place((height, width))
        pixels = resize_and_place(picture, placement, self.interpolation, self.pad)
        tensor = self._normalize(np.moveaxis(pixels, -1, 0))
        if self.layout == "NHWC":
            tensor = np.moveaxis(tensor, 0, -1)
        return np.ascontiguousarray(tensor[None]), placement

    def color(self, red: float, green: float, blue: float) -> Array:
        """Convert one color, in 0..255, to model values: (C,) of `dtype`, in channel order."""
        return self._normalize(np.array([red, green, blue], np.float32))

    def inverse(self, tensor: Array) -> FloatArray:
        """Turn an input tensor, with or without its batch axis of 1, back into a picture.

        Returns (h, w, 3) RGB float32, clipped to 0..255.
        """
        planes = tensor[0] if tensor.ndim == 4 else tensor
        if self.layout == "NCHW":
            planes = np.moveaxis(planes, 0, -1)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        values = (planes.astype(np.float32) * std + mean) / np.float32(self.scale)
        rgb = np.clip(values[..., ::-1] if self.channels == "BGR" else values, 0, 255)
        return np.repeat(rgb, 3, axis=-1) if self.channels == "GRAY" else rgb

    def to_dict(self) -> dict[str, Any]:
        """All fields in JSON types; `from_dict` reads them back."""
        return asdict(self) | {"dtype": self.dtype.name}

    @classmethod
    def from_dict(cls, settings: Mapping[str, object]) -> Preprocess:
        """Build from written settings: field names, with values as `parse_settings` reads them.

        Missing fields take their defaults; that of `size` is None. Raises PreprocessError for
        unknown names and bad values.
        """
        return cls(**{"size": None, **parse_settings(settings)})

    def _normalize(self, rgb: FloatArray) -> Array:
        """Convert RGB planes (3, ...) in 0..255 to contiguous model planes (C, ...) of `dtype`."""
        planes = self._from_rgb(rgb)
        values = np.multiply(planes, np.float32(self.scale), order="C")
        values -= self._per_channel(self.mean, values.ndim)
        values /= self._per_channel(self.std, values.ndim)
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        return values.astype(self.dtype, copy=False)

    def _from_rgb(self, planes: FloatArray) -> FloatArray:
        """Planes of the model's channels from planes of red, green and blue."""
        if self.channels == "GRAY":
            red, green, blue = (weight * plane for weight, plane in zip(GRAY, planes, strict=True))
            gray: FloatArray = red + green + blue
            return gray[None]
        return planes[::-1] if self.channels == "BGR" else planes

    @staticmethod
    def _per_channel(numbers: tuple[float, ...], ndim: int) -> FloatArray:
        """One number, or one for each channel, as an array that broadcasts over planes."""
        return np.array(numbers, np.float32).reshape(-1, *[1] * (ndim - 1))
