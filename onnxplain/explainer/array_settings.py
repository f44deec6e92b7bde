"""How arrays become the model's input, and how they are drawn, as the user sets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxplain.errors import OptionError, PreprocessError
from onnxplain.images.files import read_text
from onnxplain.images.settings import parse_settings
from onnxplain.tensors import Array

USED: Final = ("scale", "mean", "std")
"""The preprocessing settings that arrays have, too."""


@dataclass(frozen=True)
class ArraySettings:
    """What a user says about arrays.

    bands: the channels of a scene that are drawn as red, green and blue, or one as gray, counted
        from 1. The default is the first three, or the first where there are fewer.
    value_range: the values that are drawn black and white; by default, for each band, its 2nd and
        98th percentile.
    names: of the features of a row, in order.

    Raises OptionError if values are out of range.
    """

    bands: tuple[int, ...] = ()
    value_range: tuple[float, float] | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.bands) not in (0, 1, 3) or min(self.bands, default=1) < 1:
            raise OptionError(
                f"bands are one channel or three, counted from 1, such as 3,2,1, and not "
                f"{','.join(map(str, self.bands))}."
            )
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            low, high = self.value_range
            raise OptionError(f"value_range is LOW,HIGH with LOW below HIGH, not {low:g},{high:g}.")

    @classmethod
    def of(cls, given: Mapping[str, object]) -> ArraySettings:
        """Settings from Python's values, or from text as on the command line.

        Raises:
            OptionError: there is no such setting, or it does not take a value.
            PreprocessError: the file of names cannot be read.
        """
        unknown = next((name for name in given if name not in _PARSERS), None)
        if unknown is not None:
            raise OptionError(
                f"There is no setting {unknown!r} of arrays: choose {', '.join(_PARSERS)}."
            )
        found: dict[str, Any] = {name: _parsed(name, value) for name, value in given.items()}
        return cls(**found)


def _parsed(name: str, value: object) -> object:
    parser, takes = _PARSERS[name]
    try:
        return parser(value)
    except (TypeError, ValueError):
        raise OptionError(f"{name} takes {takes}, not {value!r}.") from None


def _items(value: Any) -> Sequence[Any]:
    return value.split(",") if isinstance(value, str) else list(np.atleast_1d(value))


def _bands(value: object) -> tuple[int, ...]:
    numbers = [float(item) for item in _items(value)]
    if any(number != int(number) for number in numbers):
        raise ValueError
    return tuple(map(int, numbers))


def _value_range(value: object) -> tuple[float, float]:
    low, high = (float(item) for item in _items(value))
    return low, high


def _names(value: object) -> tuple[str, ...]:
    """Names in order, between commas, or one on each line of a file."""
    if isinstance(value, str | Path) and Path(value).is_file():
        lines = read_text(Path(value)).splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    return tuple(str(item).strip() for item in _items(value))


_PARSERS: Final[Mapping[str, tuple[Callable[[Any], object], str]]] = {
    "bands": (_bands, "whole numbers from 1, such as 3,2,1"),
    "value_range": (_value_range, "two numbers, such as 0,3000"),
    "names": (_names, "names between commas, or a file with one on each line"),
}


@dataclass(frozen=True)
class Scaling:
    """(v * scale - mean) / std; mean and std hold one number, or one for each channel."""

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, given: Mapping[str, object], *, others_allowed: bool) -> Scaling:
        """From preprocessing settings; the others are for pictures.

        Raises:
            PreprocessError: a setting is malformed or, unless `others_allowed`, has no effect.
        """
        settings = parse_settings({name: v for name, v in given.items() if v is not None})
        other = next((name for name in settings if name not in (*USED, "origin")), None)
        if other is not None and not others_allowed:
            raise PreprocessError(
                f"The preprocessing setting {other} has no effect: the model takes arrays, which "
                f"have only {', '.join(USED)}."
            )
        scaling = cls(**{name: settings[name] for name in USED if name in settings})
        numbers = (scaling.scale, *scaling.mean, *scaling.std)
        if not np.isfinite(numbers).all() or 0 in (scaling.scale, *scaling.std):
            raise PreprocessError("A scale, mean or std is not finite, or a scale or std is zero.")
        return scaling

    @property
    def is_identity(self) -> bool:
        """Whether arrays are taken as they are."""
        return self == Scaling()

    def apply(self, x: Array, channels: int) -> Array:
        """The scaled samples (N, ...), float32; `channels` is the axis of mean and std.

        Raises:
            PreprocessError: mean or std do not fit that axis.
        """
        if self.is_identity:
            return x
        shape = [1] * x.ndim
        shape[channels] = -1
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, x.shape[channels]):
                raise PreprocessError(
                    f"{name} holds {len(numbers)} numbers for {x.shape[channels]} channels."
                )
        mean, std = (np.array(one, np.float32).reshape(shape) for one in (self.mean, self.std))
        scaled: Array = (x.astype(np.float32) * np.float32(self.scale) - mean) / std
        return scaled

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        origin = "as the model takes it" if self.is_identity else "given"
        return {"scale": self.scale, "mean": self.mean, "std": self.std, "origin": origin}
