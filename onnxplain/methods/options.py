"""Options of methods and metrics: each is declared once, by the annotated type of its field.

The annotation of a field holds two objects: the `Values` that the option takes, and an `Option`
with its help text. `options_of` reads both. The check of a method's options, the command line and
the documentation use them.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import numpy as np

from onnxplain.analysis.score import ScoreKind
from onnxplain.errors import OptionError
from onnxplain.execution.baselines import BaselineSpec
from onnxplain.tensors import Array


@dataclass(frozen=True)
class Values:
    """The values that an option takes.

    `convert` converts a value to a plain Python type or an array; it raises a TypeError or a
    ValueError for a value that the option does not take. `takes` says in error messages what the
    option takes. `given` is the type that the command line reads.
    """

    convert: Callable[[Any], Any]
    takes: str
    given: Any = str


@dataclass(frozen=True)
class Option:
    """The help of an option: the `metavar` of its value, and a sentence of help.

    `short` holds the short forms of its flag. Options with `aspect` say what of the model is
    explained, as the target does.
    """

    metavar: str
    help: str
    short: tuple[str, ...] = ()
    aspect: bool = False


class Declared(NamedTuple):
    """What the type of an option's field declares."""

    values: Values
    option: Option


@functools.cache
def options_of(method: type) -> Mapping[str, Declared]:
    """The options of a method by name, in the order of its fields.

    Raises:
        TypeError: the type of a field declares no option.
    """
    hints = get_type_hints(method, include_extras=True)
    return {f.name: _declared(method, f.name, hints[f.name]) for f in dataclasses.fields(method)}


def _declared(method: type, name: str, hint: Any) -> Declared:
    match getattr(hint, "__metadata__", ()):
        case (Values() as values, Option() as option):
            return Declared(values, option)
    raise TypeError(
        f"The field {name!r} of {method.__name__} declares no option: annotate its type with an "
        "Option, see onnxplain/methods/options.py."
    )


@dataclass(frozen=True, kw_only=True)
class Configured(ABC):
    """A method or a metric: its fields are its options, converted as their types declare.

    Raises:
        OptionError: an option's value is of the wrong type.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for name, (values, _) in options_of(type(self)).items():
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, values.convert(given))
            except (TypeError, ValueError):
                raise OptionError(
                    f"{self.name} takes {values.takes} as {name}, not {given!r}."
                ) from None

    def require(self, holds: bool, takes: str) -> None:
        """Raise OptionError with what is taken, unless the options are in their ranges."""
        if not holds:
            raise OptionError(f"{self.name} takes {takes}.")

    def options(self) -> dict[str, Any]:
        """Every option with its value."""
        return {name: getattr(self, name) for name in options_of(type(self))}


C = TypeVar("C", bound=Configured)


def with_options(found: C, options: Mapping[str, Any]) -> C:
    """The same method or metric with other values of some options.

    Raises:
        OptionError: it does not take an option or its value.
    """
    own = options_of(type(found))
    for name in options:
        if name not in own:
            raise OptionError(f"{found.name} has no option {name!r}; its own are {', '.join(own)}.")
    return dataclasses.replace(found, **options) if options else found


def _optional(values: Values) -> Values:
    """The same values, or None."""

    def convert(value: Any) -> Any:
        return None if value is None else values.convert(value)

    return dataclasses.replace(values, convert=convert)


def one_of(names: Any) -> Values:
    """One of the names of a literal type."""
    known = get_args(names)

    def convert(value: Any) -> Any:
        if value not in known:
            raise ValueError
        return value

    takes = " or ".join(map(repr, known)) if len(known) == 2 else f"one of {', '.join(known)}"
    return Values(convert, takes)


def _number(value: Any) -> float:
    if isinstance(value, str):
        raise TypeError
    return float(value)


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(value)
    if not isinstance(value, str):
        raise TypeError
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _samples(value: Any) -> Array | Sequence[str]:
    if isinstance(value, list) and isinstance(value[0], str):
        return value
    array = np.asarray(value, np.float32)
    if array.ndim < 2 or not len(array):
        raise ValueError
    return array


def _whole_numbers(value: Any, separator: str) -> tuple[int, ...]:
    """One whole number or several; in a text, they stand between separators."""
    if isinstance(value, str):
        value = map(int, value.lower().split(separator))
    return tuple(map(operator.index, value if np.iterable(value) else [value]))


def _cells(value: Any) -> tuple[tuple[int, int], ...]:
    cells = value.split(",") if isinstance(value, str) else value
    return tuple((row, column) for row, column in (_whole_numbers(cell, "x") for cell in cells))


def _sizes(value: Any) -> int | tuple[int, ...]:
    sizes = _whole_numbers(value, "x")
    return sizes[0] if len(sizes) == 1 else sizes


def _segments(value: Any) -> int | Array:
    if np.ndim(value) == 0:
        return operator.index(value)
    labels = np.asarray(value)
    if labels.dtype.kind not in "iu":
        raise ValueError
    return labels


def _baseline(value: Any) -> BaselineSpec:
    if isinstance(value, str):
        return value
    array = np.asarray(value, np.float32)
    return array if array.ndim else float(array)


_WHOLE = Values(operator.index, "a whole number", int)
_NUMBER = Values(_number, "a number", float)
_SIZES = Values(_sizes, "a number of pixels, or one for each axis, such as 32x48")
_INDICES = Values(functools.partial(_whole_numbers, separator=","), "whole numbers, such as 3,17")
_CELLS = Values(_cells, "cells as row x column, such as 2x3,2x4")

BASELINE = Values(_baseline, "a name, a number or an array")
"""The command line also takes the path of a picture or of a .npy file."""

SAMPLES = _optional(Values(_samples, "an array of several samples, (n, ...)", list[str]))
"""The command line reads pictures."""

Whole = Annotated[int, _WHOLE]
WholeOrNone = Annotated[int | None, _optional(_WHOLE)]
Number = Annotated[float, _NUMBER]
NumberOrNone = Annotated[float | None, _optional(_NUMBER)]
Switch = Annotated[bool, Values(_switch, "true or false", bool)]

Sizes = Annotated[int | tuple[int, ...] | None, _optional(_SIZES)]
"""Pixels: one number, one for each axis of rows and columns, or None for the default."""

Indices = Annotated[tuple[int, ...] | None, _optional(_INDICES)]
"""Channels, or None for all."""

Cells = Annotated[tuple[tuple[int, int], ...] | None, _optional(_CELLS)]
"""Cells of a grid as (row, column), or None for all."""

Absent = Annotated[BaselineSpec, BASELINE]
"""What replaces removed parts of the input."""

SampleArray = Annotated[Array | Sequence[str] | None, SAMPLES]
"""Several samples in the form of the model's input, (n, ...); on the command line, pictures."""

Segments = Annotated[
    int | Array, Values(_segments, "a number of segments, or an array of whole numbers", int)
]
"""The number of segments to find, or an array with the segment of each position."""

_QuadratureName = Literal[
    "gauss-legendre", "riemann-left", "riemann-right", "riemann-middle", "riemann-trapezoid"
]
Quadrature = Annotated[_QuadratureName, one_of(_QuadratureName)]
"""A rule for numerical integration."""

CompositeName = Literal[
    "epsilon",
    "gamma",
    "zplus",
    "alpha2beta1",
    "zbox",
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_alpha2beta1",
    "epsilon_alpha2beta1_flat",
    "epsilon_gamma_box",
]
Composite = Annotated[CompositeName, one_of(CompositeName)]
"""Rules of LRP by type of layer."""

_AttentionRuleName = Literal["attnlrp", "cp"]
AttentionRule = Annotated[_AttentionRuleName, one_of(_AttentionRuleName)]
"""How LRP treats the weights of attention."""

_FuseName = Literal["mean", "max", "product"]
Fuse = Annotated[_FuseName, one_of(_FuseName)]
"""How the maps of several layers are combined."""

# Options that several methods share, with the same name and meaning.

Score = Annotated[
    ScoreKind,
    one_of(ScoreKind),
    Option("KIND", "Explain the logit or the probability; each method has its own.", aspect=True),
]
LayerName = Annotated[
    str,
    Values(_text, "a name"),
    Option(
        "NAME",
        "Node or tensor to read: auto is the last with a grid; several between commas; all.",
        ("-l",),
        aspect=True,
    ),
]
Channel = Annotated[WholeOrNone, Option("INDEX", "The one channel to show.")]
Baseline = Annotated[
    Absent, Option("WHAT", "What absent looks like: black, blur, ..., a picture or .npy.")
]
Samples = Annotated[Whole, Option("COUNT", "Random masks, noisy copies, or random points.")]
Grid = Annotated[Whole, Option("CELLS", "Cells on each side of a random mask.")]
Noise = Annotated[
    Number, Option("SHARE", "Sigma of noisy copies, as a share of the input's range.")
]
Steps = Annotated[
    Whole, Option("COUNT", "Steps on the path from a baseline, or of gradient ascent.")
]
Seed = Annotated[Whole, Option("NUMBER", "Seed of the random numbers.")]
