"""Arrays from the lists of a request, in the type of a model's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxplain.serve.refusals import RefusedError, bad
from onnxplain.tensors import Array

DATATYPES: Mapping[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
}
"""The names of element types in the Open Inference Protocol, by the names in numpy."""


def datatype(dtype: np.dtype[Any]) -> str:
    """The name of an element type in the Open Inference Protocol."""
    return DATATYPES.get(dtype.name, "BYTES")


def numbers(data: Any, what: str) -> Array:
    """Nested lists of numbers, or one number, as an array.

    `what` begins the sentences of errors, such as "The input 'x'".

    Raises:
        RefusedError: the lists are no rectangle, or hold something that is no number.
    """
    try:
        array = np.asarray(data)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise bad(
            f"{what} has lists of different lengths, or too many levels of lists: the lists of "
            "one level must be equally long."
        ) from None
    if array.dtype.kind not in "biuf":
        raise bad(
            f"{what} holds a value that is no number, or an integer above 64 bits: send lists of "
            "numbers."
        )
    return array


def typed(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    """An array of numbers in the type of a model's input, all of them finite.

    Raises:
        RefusedError: the type cannot hold one of the numbers, or the model takes texts.
    """
    called = datatype(dtype)
    if called == "BYTES":
        raise _takes_texts(what)
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
    is_bool = dtype.kind == "b"
    if is_bool != (array.dtype.kind == "b") or (
        dtype.kind in "iu" and not np.array_equal(cast, array)
    ):
        raise bad(f"{what} holds a value that {called} does not have: send {called} values.")
    if dtype.kind not in "biu" and not np.isfinite(cast).all():
        raise bad(f"{what} holds a number that is not finite, or too large for {called}.")
    return cast


def _takes_texts(what: str) -> RefusedError:
    return bad(f"{what} takes texts, and this server takes numbers and pictures only.")
