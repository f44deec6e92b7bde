"""The values that a model takes, from what its graph does with them first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from onnxplain.images.geometry import Size
from onnxplain.tensors import Array

IMAGENET: Final[dict[str, Any]] = {
    "scale": 1 / 255,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}


@dataclass(frozen=True, eq=False)
class FirstSteps:
    """What a graph does first with its input: each channel becomes `value * factor + offset`.

    factor, offset: one number for each channel of the input, in its order.
    resized: the size to which the graph resizes pictures of any size; None if it does not.
    """

    factor: Array
    offset: Array
    resized: Size | None = None


@dataclass(frozen=True)
class GraphReader:
    """Finds what a model's graph says about its input.

    first_steps: what the graph does first, for a layout and a number of channels; None if it is
        not known.
    size_multiple: for a layout, the number that rows and columns must be multiples of.
    """

    first_steps: Callable[[str, int], FirstSteps | None] = lambda layout, channels: None
    size_multiple: Callable[[str], int] = lambda layout: 1


class _Taken(NamedTuple):
    """Values that models take: how they are made from pixels, in settings and in words."""

    settings: dict[str, Any]
    words: str


_PIXELS: Final = _Taken({}, "pixels of 0..255")
_UNIT: Final = _Taken({"scale": 1 / 255}, "values of 0..1")
_SIGNED: Final = _Taken({"scale": 1 / 255, "mean": 0.5, "std": 0.5}, "values of -1..1")
_NORMALIZED: Final = _Taken(IMAGENET, "values with ImageNet's mean and standard deviation")

_EXACT: Final = 0.015
"""Largest relative difference from a usual result: some divide by 256, or by 128."""


def read_values(steps: FirstSteps) -> tuple[Mapping[str, Any], str] | None:
    """The settings scale, mean, std and channels that make what these steps expect, and words.

    The values that a model takes are those from which the steps make a usual result: pixels
    normalized with a mean and a standard deviation, or 0..1, or -1..1, or pixels less a mean. None
    if no values or several kinds of values are possible, as for a model that starts with a layer.
    """
    found = list(_possible(steps))
    if len(found) != 1:
        return None
    taken, result, order = found[0]
    settings = taken.settings | ({"channels": order} if order else {})
    named = f"{order} {taken.words}" if order else taken.words
    return settings, f"{named}, from which the graph makes {result}"


def _possible(steps: FirstSteps) -> Iterator[tuple[_Taken, str, str]]:
    """Values that the model may take, the result for them, and the order of channels if known."""
    for taken, black, white in ((_PIXELS, 0.0, 255.0), (_UNIT, 0.0, 1.0)):
        low, high = (steps.factor * end + steps.offset for end in (black, white))
        if result := _usual(low, high):
            yield taken, result, _order(low, high)
    for taken, *ends in _ends_of_normalized(len(steps.factor)):
        low, high = (steps.factor * end + steps.offset for end in ends)
        if result := _full(low, high):
            yield taken, result, ""


def _ends_of_normalized(channels: int) -> Iterator[tuple[_Taken, Array, Array]]:
    """Black and white in the values that are normalized outside the graph."""
    yield _SIGNED, np.full(channels, -1.0), np.full(channels, 1.0)
    if channels == len(IMAGENET["mean"]):
        mean, std = np.array(IMAGENET["mean"]), np.array(IMAGENET["std"])
        yield _NORMALIZED, -mean / std, (1 - mean) / std


_FULL: Final = {"0..1": (0, 1), "-1..1": (-1, 1), "0..255": (0, 255)}


def _full(low: Array, high: Array) -> str:
    """The usual range that black and white become the ends of; empty if there is none."""
    for words, (bottom, top) in _FULL.items():
        if _near(low, bottom) and _near(high, top):
            return words
    return ""


def _near(values: Array, end: float) -> bool:
    """Whether values are the end of a range; 0 is met exactly, up to rounding."""
    return bool(np.abs(values - end).max() <= max(_EXACT * abs(end), 1e-4))


_MEANS: Final = (0.1, 0.65)
_STDS: Final = (0.15, 0.6)
"""Means and standard deviations, of pixels in 0..1, of sets of pictures."""


def _usual(low: Array, high: Array) -> str:
    """The usual result in words, from what black and white become; empty if it is none."""
    if full := _full(low, high):
        return full
    width = high - low
    if (width <= 0).any():
        return ""
    mean, std = -low / width, 1 / width
    if not _within(mean, _MEANS):
        return ""
    results = {
        f"values with the mean {_numbers(mean)} and standard deviation {_numbers(std)}": (
            _within(std, _STDS)
        ),
        f"values less the mean {_numbers(mean)}": np.abs(std - 1).max() < _EXACT,
        f"pixels less the mean {_numbers(255 * mean)}": np.abs(width - 255).max() < _EXACT,
    }
    return next((words for words, fits in results.items() if fits), "")


def _within(values: Array, limits: tuple[float, float]) -> bool:
    return bool((values >= limits[0]).all() and (values <= limits[1]).all())


def _numbers(values: Array) -> str:
    shown = [f"{value:.3g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else ", ".join(shown)


def _order(low: Array, high: Array) -> str:
    """RGB or BGR where the means are those of ImageNet in that order; else empty."""
    means, usual = -low / (high - low), np.array(IMAGENET["mean"])
    for order, expected in (("RGB", usual), ("BGR", usual[::-1])):
        if len(means) == len(expected) and np.abs(means - expected).max() < _EXACT:
            return order
    return ""
