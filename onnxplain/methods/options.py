"""What values a method's options take, by the type that their field declares."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np

from onnxplain.execution.baselines import BaselineSpec
from onnxplain.tensors import Array

Sizes = int | tuple[int, ...] | None
"""Pixels: one number, one for each axis of rows and columns, or None for the method's own."""

Quadrature = Literal[
    "gauss-legendre", "riemann-left", "riemann-right", "riemann-middle", "riemann-trapezoid"
]
"""A rule for integrals."""

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
"""Rules of LRP by type of layer."""

Fuse = Literal["mean", "max"]
"""How maps of several layers become one."""

Indices = tuple[int, ...] | None
"""Channels, or None for all."""

Cells = tuple[tuple[int, int], ...] | None
"""Cells of a grid as (row, column), or None for all."""

Samples = Array | Sequence[str] | None
"""Several samples as the model takes them, (n, ...); on the command line, pictures."""

Segments = int | Array
"""How many segments to look for, or which segment each place is in."""


def option(declared: str, value: object) -> Any:
    """`value` as plain Python, an array apart.

    Raises:
        ValueError: an option of the type `declared` does not take it; the message says what it
            takes.
    """
    convert, takes = _TYPES[declared]
    try:
        return convert(value)
    except (TypeError, ValueError):
        raise ValueError(takes) from None


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


def _score(value: object) -> str:
    if value not in ("logit", "probability"):
        raise ValueError
    return str(value)


def _composite(value: object) -> str:
    if value not in get_args(CompositeName):
        raise ValueError
    return str(value)


def _quadrature(value: object) -> str:
    if value not in get_args(Quadrature):
        raise ValueError
    return str(value)


def _optional_number(value: Any) -> float | None:
    return None if value is None else _number(value)


def _samples(value: Any) -> Samples:
    if value is None or (isinstance(value, list) and isinstance(value[0], str)):
        return value
    array = np.asarray(value, np.float32)
    if array.ndim < 2 or not len(array):
        raise ValueError
    return array


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _fuse(value: object) -> str:
    if value not in get_args(Fuse):
        raise ValueError
    return str(value)


def _indices(value: Any) -> Indices:
    if value is None:
        return None
    if isinstance(value, str):
        value = [int(index) for index in value.split(",")]
    return tuple(map(operator.index, value)) if np.iterable(value) else (operator.index(value),)


def _cells(value: Any) -> Cells:
    if value is None:
        return None
    if isinstance(value, str):
        value = [map(int, cell.lower().split("x")) for cell in value.split(",")]
    return tuple((operator.index(row), operator.index(column)) for row, column in value)


def _channel(value: Any) -> int | None:
    return None if value is None else operator.index(value)


def _sizes(value: Any) -> Sizes:
    if value is None:
        return None
    if isinstance(value, str):
        value = [int(side) for side in value.lower().split("x")]
    if not np.iterable(value):
        return operator.index(value)
    sizes = tuple(map(operator.index, value))
    return sizes[0] if len(sizes) == 1 else sizes


def _segments(value: Any) -> Segments:
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


_TYPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "int": (operator.index, "a whole number"),
    "int | None": (_channel, "a whole number"),
    "float": (_number, "a number"),
    "float | None": (_optional_number, "a number"),
    "bool": (_switch, "true or false"),
    "str": (_text, "a name"),
    "ScoreKind": (_score, "'logit' or 'probability'"),
    "Sizes": (_sizes, "a number of pixels, or one for each axis, such as 32x48"),
    "Quadrature": (_quadrature, f"one of {', '.join(get_args(Quadrature))}"),
    "CompositeName": (_composite, f"one of {', '.join(get_args(CompositeName))}"),
    "Fuse": (_fuse, "'mean' or 'max'"),
    "Indices": (_indices, "whole numbers, such as 3,17"),
    "Cells": (_cells, "cells as row x column, such as 2x3,2x4"),
    "Samples": (_samples, "an array of several samples, (n, ...)"),
    "Segments": (_segments, "a number of segments, or an array of whole numbers"),
    "BaselineSpec": (_baseline, "a name, a number or an array"),
}
