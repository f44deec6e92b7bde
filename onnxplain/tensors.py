"""Types for arrays and for the description of a tensor, used in the whole project."""

from __future__ import annotations

from collections.abc import Sequence
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

    @property
    def sizes(self) -> str:
        """The declared shape in words, such as "(N, 3, ?, ?)"."""
        return "an undeclared shape" if self.shape is None else in_words(self.shape)


def in_words(shape: Sequence[int | str | None]) -> str:
    """A shape as a text, such as "(N, 3, ?, ?)"; the name of an open dimension is kept."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"
