"""JSON that is strict in both directions: no NaN, no infinity, and arrays written fast."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from onnxplain.serve.refusals import bad
from onnxplain.tensors import Array, FloatArray

_SHOWN = 80
"""Characters of the parser's own message that are shown."""


class JsonText(str):
    """A text that is JSON already."""

    __slots__ = ()


def parse(body: bytes) -> Any:
    """The value that a body in UTF-8 holds.

    Raises:
        RefusedError: it is no strict JSON.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise bad("The body is not UTF-8: send JSON in UTF-8.") from None
    except RecursionError:
        raise bad("The JSON of the body is nested too deeply: send lists of numbers.") from None
    except ValueError as error:
        # The parser also refuses integers of thousands of digits, as a ValueError.
        raise bad(f"The body is no JSON: {str(error)[:_SHOWN]}.") from None


def _no_constant(name: str) -> NoReturn:
    raise bad(f"The body holds {name}, which is no JSON: send finite numbers.")


def write(value: Any) -> str:
    """A value as JSON: dicts, lists, arrays, texts that are JSON already, and plain values.

    Numbers that are not finite become null.
    """
    match value:
        case JsonText():
            return value
        case Mapping():
            pairs = (f"{json.dumps(str(key))}:{write(item)}" for key, item in value.items())
            return f"{{{','.join(pairs)}}}"
        case list() | tuple():
            return f"[{','.join(map(write, value))}]"
        case np.ndarray() | np.generic():
            return _nested(_texts(np.asarray(value)), np.shape(value))
        case float() if not np.isfinite(value):
            return "null"
        case _:
            return json.dumps(value, allow_nan=False)


def _texts(array: Array) -> list[str]:
    """The elements in row-major order; a float32 keeps its value with nine digits."""
    flat = array.ravel()
    if array.dtype.kind not in "fV":
        return list(map(json.dumps, flat.tolist()))
    digits = "%.17g" if array.dtype == np.float64 else "%.9g"
    texts = list(map(digits.__mod__, flat.tolist()))
    finite = np.isfinite(flat)
    if not finite.all():
        for place in np.flatnonzero(~finite):
            texts[place] = "null"
    return texts


def _nested(texts: Sequence[str], shape: Sequence[int]) -> JsonText:
    """Elements in row-major order as nested lists."""
    for axis in reversed(range(len(shape))):
        rows, size = math.prod(shape[:axis]), shape[axis]
        texts = [f"[{','.join(texts[i * size : (i + 1) * size])}]" for i in range(rows)]
    return JsonText(texts[0])


_STEPS = 10_000
_HEAT = np.array([f"{i / _STEPS:g}" for i in range(_STEPS + 1)], dtype=object)
"""Each heat with four decimals: to look a text up takes a tenth of the time of writing it."""


def heat(heatmap: FloatArray) -> JsonText:
    """Heat in [0, 1] as nested lists of numbers with four decimals."""
    steps = np.rint(heatmap * _STEPS).astype(np.intp)
    return _nested(_HEAT[steps].ravel().tolist(), heatmap.shape)
