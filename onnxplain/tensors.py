"""Types for arrays and for the description of a tensor, used in the whole project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and declared shape of a model's input or output.

    A dimension is an int if the model fixes it, a str if the model only names it, and None if the
    model does not declare it. `shape` itself is None if even the rank is not declared.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None
