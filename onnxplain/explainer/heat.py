"""From a method's map to a heatmap on the original picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxplain.errors import MapError
from onnxplain.images.geometry import Placement
from onnxplain.tensors import FloatArray

_ROUNDING = 1e-6
"""What enlarging leaves of a constant, in units of that constant: a few float32 roundings."""


_PERHAPS = (
    "Perhaps nothing here changes the score, or nothing speaks for the target; try another target, "
    "layer or method."
)


def to_heatmap(
    heat: FloatArray, placement: Placement, of: str, warnings: Sequence[str] = ()
) -> tuple[FloatArray, tuple[float, float]]:
    """A map (rows, columns) as a heatmap (H, W) in [0, 1], and the values that 0 and 1 stand for.

    The map is enlarged to the model's input and laid back on the picture's own pixels, in one step,
    and scaled over those that the model saw; the others are 0. `of` names the method and the
    target, and `warnings` are what the method itself says of it.

    Raises:
        MapError: the map is not finite, or the same everywhere.
    """
    if not np.isfinite(heat).all():
        raise MapError(
            f"The map of {of} is not finite (NaN or infinite values), so it means nothing: try "
            "another layer, another baseline, or a float32 version of the model."
        )
    seen = placement.on_seen(heat)
    low, high = float(seen.min()), float(seen.max())
    if _is_constant(seen.size, low, high):
        raise MapError(_same_everywhere(high, of, warnings))
    seen -= low
    seen /= high - low
    np.clip(seen, 0, 1, out=seen)
    return placement.on_canvas(seen), (low, high)


def nothing_shown(heat: FloatArray, of: str, warnings: Sequence[str] = ()) -> str:
    """What to say of a map that is the same everywhere; nothing of others.

    `of` names the method, and `warnings` are what it says of the map itself.
    """
    low, high = float(heat.min()), float(heat.max())
    return _same_everywhere(high, of, warnings) if _is_constant(heat.size, low, high) else ""


def _is_constant(size: int, low: float, high: float) -> bool:
    return size > 1 and not high - low > _ROUNDING * max(abs(high), abs(low))


def _same_everywhere(value: float, of: str, warnings: Sequence[str]) -> str:
    why = " ".join(warnings) or _PERHAPS
    return (
        f"The map of {of} is the same everywhere ({value:.3g}), so it shows nothing: "
        f"{why[:1].lower()}{why[1:]}"
    )
