"""Occlusion."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.subject import Subject
from onnxplain.methods.base import InputMethod, Maps, SampledMethod
from onnxplain.methods.options import Absent, Option, Sizes
from onnxplain.tensors import Array
from onnxplain.transforms.masks import Erase, box_feeds


@dataclass(frozen=True, kw_only=True)
class Occlusion(InputMethod, SampledMethod):
    """S(x) − S(x with a window filled), averaged over the windows that cover each pixel.

    `window` and `stride` are pixels of the model's input, one number or one for each axis of rows
    and columns; by default the window is a fifth of the input and the stride a quarter of the
    window. Windows start at 0, stride, 2·stride, ...; the last one in a row is clipped at the
    border, so that every pixel is covered. `fill` is what a window is filled with.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    """

    name: ClassVar[str] = "occlusion"
    summary: ClassVar[str] = "the score that is lost when a window is covered"
    paper: ClassVar[str] = "Zeiler 2013"
    cost: ClassVar[str] = "1 + one per window"

    window: Annotated[
        Sizes, Option("PIXELS", "Window that is covered: 32, or 32x48 (rows x columns).")
    ] = None
    stride: Annotated[Sizes, Option("PIXELS", "Step from window to window.")] = None
    fill: Annotated[Absent, Option("WHAT", "What a window is filled with: as --baseline.")] = (
        "black"
    )

    def maps(self, subject: Subject) -> Maps:
        """See `Method`.

        Raises:
            OptionError: a window or stride is not positive, too large, or one too many.
        """
        shape = tuple(subject.x.shape[axis] for axis in subject.spatial)
        window = _sizes("window", self.window, [max(1, round(size / 5)) for size in shape], shape)
        stride = _sizes("stride", self.stride, [max(1, size // 4) for size in window], shape)
        if any(step > size for step, size in zip(stride, window, strict=True)):
            raise OptionError(
                f"stride {stride} leaves pixels between windows of {window} uncovered: it may not "
                "be larger than the window."
            )
        per_axis = [_intervals(*sizes) for sizes in zip(shape, window, stride, strict=True)]
        boxes = np.array(list(itertools.product(*per_axis)))
        feeds = box_feeds(
            subject.x.ndim,
            {axis: (boxes[:, i, 0], boxes[:, i, 1]) for i, axis in enumerate(subject.spatial)},
        )
        lost = np.zeros((len(subject.scores), *shape), np.float64)
        cover = np.zeros(shape, np.float64)
        mask = Erase(subject.spatial)
        for batch in subject.perturbed(mask, feeds, subject.baseline(self.fill)):
            for box, scores in zip(boxes[batch.part], batch.scores, strict=True):
                region = tuple(slice(start, stop) for start, stop in box)
                lost[(slice(None), *region)] += (subject.scores - scores).reshape(
                    -1, *[1] * len(shape)
                )
                cover[region] += 1
        return Maps(
            subject.spread(lost / cover),
            {"forward_passes": 1 + len(boxes), "window": list(window), "stride": list(stride)},
        )


def _sizes(name: str, given: Sizes, default: list[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    if given is None:
        return tuple(default)
    sizes = (given,) * len(shape) if isinstance(given, int) else tuple(given)
    if len(sizes) != len(shape):
        raise OptionError(f"{name} takes one number or {len(shape)}, not {len(sizes)}.")
    for size, length in zip(sizes, shape, strict=True):
        if not 1 <= size <= length:
            raise OptionError(
                f"{name} must lie between 1 and the input's {length} pixels, and is {size}."
            )
    return sizes


def _intervals(length: int, window: int, stride: int) -> Array:
    """Starts and stops of the windows that cover one axis, (windows, 2)."""
    starts = np.arange(0, max(length - window, 0) + stride, stride)
    starts = starts[starts < length]
    return np.stack([starts, np.minimum(starts + window, length)], axis=1)
