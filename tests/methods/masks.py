"""The masks of `transforms.masks` in numpy, one at a time."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from references.perturbation import scorecam_mask
from references.resize import upsample_half_pixel

from onnxplain.transforms.masks import (
    Along,
    Erase,
    Keep,
    Mask,
    Segmented,
    Share,
    Shifted,
    Upsampled,
)

Array = np.ndarray[Any, np.dtype[Any]]


def masks_of(mask: Mask, feeds: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    """Each broadcasts to `shape` without its batch axis."""
    count = len(next(iter(feeds.values())))
    each = ({name: feed[i] for name, feed in feeds.items()} for i in range(count))
    masks = [MASKS[type(mask)](mask, own, shape) for own in each]
    return np.stack(masks) if masks else np.zeros((0, *shape[1:]))


def flat(masks: Array) -> Array:
    return masks.reshape(len(masks), prod(masks.shape[1:]))


def box(mask: Any, feed: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    inside = np.ones((1, 1, 1))
    for axis in mask.axes:
        places = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(1, 4)])
        inside = inside * (places >= feed[f"start_{axis}"]) * (places < feed[f"stop_{axis}"])
    return inside


def upsampled(mask: Any, feed: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    assert mask.axes == (2, 3)
    return scorecam_mask(feed["grid"].astype(np.float64), (shape[2], shape[3]))[None]


def shifted(mask: Any, feed: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    top, left = int(feed["shift_2"].item()), int(feed["shift_3"].item())
    large = upsample_half_pixel(feed["grid"].astype(np.float64), mask.size)
    return large[None, top : top + shape[2], left : left + shape[3]]


def segmented(mask: Any, feed: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    places = feed["segments"][np.frombuffer(mask.labels, np.int64)]
    return places.reshape([shape[i] if i in mask.axes else 1 for i in range(1, len(shape))])


def along(mask: Any, feed: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    return feed["along"].reshape([-1 if i == mask.axis else 1 for i in range(1, len(shape))])


MASKS: dict[type, Callable[..., Array]] = {
    Keep: box,
    Erase: lambda *arguments: 1 - box(*arguments),
    Upsampled: upsampled,
    Shifted: shifted,
    Segmented: segmented,
    Along: along,
    Share: lambda mask, feed, shape: feed["share"].astype(np.float64),
}
