"""From a method's map to a heatmap on the original picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxplain.errors import MapError
from onnxplain.explainer.taken import Canvas
from onnxplain.images.geometry import Placement
from onnxplain.methods.base import Method, SinglePassMethod
from onnxplain.targets import Target
from onnxplain.tensors import FloatArray

ROUNDING = 1e-6
"""Largest variation of an enlarged constant map, relative to the constant: float32 rounding."""


_PERHAPS = (
    "Perhaps nothing here changes the score, or nothing raises it; try another target, layer or "
    "method."
)


def to_heatmap(
    heat: FloatArray,
    canvas: Canvas,
    of: str,
    warnings: Sequence[str] = (),
    anchors: Sequence[float] = (),
    has_zero: bool = True,
) -> tuple[FloatArray, tuple[float, float]]:
    """A map (rows, columns) as a heatmap (H, W) in [0, 1], and the values that became 0 and 1.

    The map is resized to the picture's own pixels in one step, and scaled by its smallest and
    largest value over the pixels that the model saw and `anchors`; the other pixels are 0. Maps of
    arrays may have any rank. If no value is positive and the values have a zero (`has_zero`), heat
    1 is 0 and not the largest value, so that a place that lowers the score least does not look like
    one that raises it. `of` names the method and the target for errors, and `warnings` are
    the method's own warnings about the map.

    Raises:
        MapError: the map is not finite, or the same everywhere.
    """
    if not np.isfinite(heat).all():
        raise MapError(
            f"The map of {of} is not finite (NaN or infinite values), so it means nothing: try "
            "another layer, another baseline, or a float32 version of the model."
        )
    seen = canvas.on_seen(heat)
    low = float(min([seen.min(), *anchors]))
    high = float(max([seen.max(), *anchors]))
    if _is_constant(low, high):
        raise MapError(_same_everywhere(high, of, warnings))
    if has_zero:
        high = max(high, 0.0)
    seen -= low
    seen /= high - low
    np.clip(seen, 0, 1, out=seen)
    return canvas.on_canvas(seen), (low, high)


def shows_something(heat: FloatArray, canvas: Canvas) -> bool:
    """Whether a fast check shows that the heatmap of a map is not constant; False if unsure.

    It is sure where no cell lies on padding, and the model saw two pixels or more for each cell
    along each axis. Then a pixel's center is within a quarter of a cell of each cell's center, so
    that the cell has at least 9/16 of the weight of that pixel, and the heatmap has at least 1/8 of
    the map's range.
    """
    if not isinstance(canvas, Placement) or heat.ndim != 2 or not np.isfinite(heat).all():
        return False
    for axis, cells in enumerate(heat.shape):
        window, seen = canvas.window(axis), canvas.seen(axis)
        if window != slice(0, canvas.model[axis]) or seen.stop - seen.start < 2 * cells:
            return False
    low, high = float(heat.min()), float(heat.max())
    return (high - low) / 8 > ROUNDING * max(abs(high), abs(low))


def nothing_shown(heat: FloatArray, of: str, warnings: Sequence[str] = ()) -> str:
    """A warning if the map is the same everywhere; else empty.

    `of` names the method, and `warnings` are its own warnings about the map.
    """
    low, high = float(heat.min()), float(heat.max())
    return _same_everywhere(high, of, warnings) if heat.size > 1 and _is_constant(low, high) else ""


def no_slope(method: Method, target: Target, score: float) -> str:
    """Why a gradient at the sample shows nothing; empty if it does, or the method uses none.

    Methods with gradients at other samples, such as integrated_gradients, do show something.
    """
    at_sample = isinstance(method, SinglePassMethod) and method.needs_gradient
    if not (at_sample and target.is_extreme(score)):
        return ""
    return (
        f"The score of {target.name!r} is already at its limit ({score:.6g}), so its gradient is "
        "zero, and the map would show rounding errors: use occlusion or another method that "
        "changes the picture."
    )


def _is_constant(low: float, high: float) -> bool:
    return not high - low > ROUNDING * max(abs(high), abs(low))


def _same_everywhere(value: float, of: str, warnings: Sequence[str]) -> str:
    why = " ".join(warnings) or _PERHAPS
    return (
        f"The map of {of} is the same everywhere ({value:.3g}), so it shows nothing: "
        f"{why[:1].lower()}{why[1:]}"
    )
