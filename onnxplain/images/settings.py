"""Conversion of written preprocessing settings (JSON, command line) to exact types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from onnxplain.errors import PreprocessError
from onnxplain.images.geometry import InputSize


def parse_settings(written: Mapping[str, object]) -> dict[str, Any]:
    """Convert every value to the type of its `Preprocess` field.

    Lists may be JSON lists or text: "224", "224x320", "0.485,0.456,0.406"; a `size` of None or
    "picture" means the picture's own size, and in "48xauto" or [48, None] the width follows the
    picture's proportions. Raises PreprocessError for an unknown name, with a list
    of the known ones, and for a value that cannot be converted.
    """
    unknown = [name for name in written if name not in _PARSERS]
    if unknown:
        raise PreprocessError(
            f"Unknown preprocessing setting {', '.join(map(repr, unknown))}: "
            f"the settings are {', '.join(_PARSERS)}."
        )
    return {name: _parse(name, value) for name, value in written.items()}


def _parse(name: str, value: object) -> object:
    parser, expected = _PARSERS[name]
    try:
        return parser(value)
    except (TypeError, ValueError, OverflowError):
        raise PreprocessError(
            f"Preprocessing setting {name!r} is {value!r}: expected {expected}."
        ) from None


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str | np.number):
        raise TypeError
    return float(value)


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(_number(item) for item in _items(value, ","))


def _pixels(value: object) -> int:
    count = _number(value)
    if count != int(count):
        raise ValueError
    return int(count)


def _size(value: object) -> InputSize | None:
    if value is None or value == "picture":
        return None
    height, *width = _items(value, "x")
    if len(width) == 1 and width[0] in (None, _AUTO):
        return _pixels(height), None
    side = _resize(value)
    return (side, side) if isinstance(side, int) else side


_AUTO: Final = "auto"
"""A width that follows the picture's proportions."""


def _resize(value: object) -> int | tuple[int, int] | None:
    if value is None:
        return None
    height, *width = (_pixels(item) for item in _items(value, "x"))
    if len(width) > 1:
        raise ValueError
    return (height, width[0]) if width else height


def _items(value: object, separator: str) -> Iterable[object]:
    if isinstance(value, str):
        return value.lower().split(separator)
    return value if isinstance(value, list | tuple | np.ndarray) else (value,)


def _dtype(value: object) -> np.dtype[Any]:
    if not isinstance(value, str | np.dtype | type):
        raise TypeError
    return np.dtype(value)


_PARSERS: Final[Mapping[str, tuple[Callable[[Any], object], str]]] = {
    "size": (
        _size,
        "a side, [height, width], HEIGHTxauto for a width that follows the picture's proportions, "
        "or null or 'picture' for the picture's own size",
    ),
    "layout": (str.upper, "a word"),
    "channels": (str.upper, "a word"),
    "fit": (str.lower, "a word"),
    "resize": (_resize, "a side, [height, width] or null"),
    "interpolation": (str.lower, "a word"),
    "scale": (_number, "a number"),
    "mean": (_numbers, "a number or a list of numbers"),
    "std": (_numbers, "a number or a list of numbers"),
    "pad": (_number, "a number"),
    "dtype": (_dtype, "the name of a numpy type"),
    "origin": (str.strip, "text"),
    "multiple": (_pixels, "a whole number"),
}
