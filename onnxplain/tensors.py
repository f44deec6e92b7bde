"""What every part of the project says about a tensor: its name, element type and shape."""

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

    A dimension is an int where the model fixes it, a str where the model names it, None where it
    says nothing. `shape` itself is None where not even the rank is declared.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None
