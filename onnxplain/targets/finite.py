"""Refuse scores that are not finite, of which nothing can be explained."""

from __future__ import annotations

import numpy as np

from onnxplain.errors import MapError
from onnxplain.tensors import Array


def check_finite(scores: Array, of: str = "model") -> None:
    """Check that the scores of one picture are finite; `of` says in words what gives them.

    Raises:
        MapError: a score is NaN or infinite.
    """
    if not np.isfinite(scores).all():
        raise MapError(
            f"The {of}'s scores for this picture are not finite (NaN or infinite): check the "
            "preprocessing, or the model's numeric type."
        )
