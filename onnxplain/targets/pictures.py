"""Targets in an answer that is a picture, such as a depth or a restored photograph."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from onnxplain.analysis.answer_maps import AnswerMap
from onnxplain.errors import TargetError
from onnxplain.images.geometry import Placement
from onnxplain.model.shapes import Shape
from onnxplain.targets.contrast import NOT, compared
from onnxplain.targets.described import ExplainedRegion, ExplainedTarget, area_name
from onnxplain.targets.elements import WeightedSum, mean_weights
from onnxplain.targets.places import ALL, PREDICTED, cells_at
from onnxplain.targets.target import OUTPUT, Target
from onnxplain.tensors import Array


@dataclass(frozen=True, eq=False)
class Area(WeightedSum):
    """The mean of an answer's numbers over some cells, for numbers that belong to no class.

    `cells` is bool (rows, columns), and `axis` is the axis of the channels in the answer (N, ...),
    None if there is none. The mean is over all channels, or over `channel` alone. `where`
    describes the cells in words.

    Raises:
        TargetError: `cells` selects no cell.
    """

    cells: Array
    axis: int | None = 1
    channel: int | None = None
    where: str = ALL
    own_kind: ClassVar[str | None] = OUTPUT

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", np.asarray(self.cells, bool))
        if not self.cells.any():
            raise TargetError(f"The place {self.where!r} holds no cell of the answer.")

    @property
    def name(self) -> str:
        """Which channel, and which cells, as in `output@all` or `channel 1@224,110`."""
        own = OUTPUT if self.channel is None else f"channel {self.channel}"
        return f"{own}@{self.where}"

    def parameters(self, shape: Shape) -> Mapping[str, Array]:
        """See `Target`."""
        return {"weights": mean_weights(shape, self.cells, self.axis, self.channel)}

    def check(self, shape: Shape) -> None:
        """See `Target`: the answer must have this channel, and rows and columns like `cells`."""
        sizes = list(shape)
        channels = 1 if self.axis is None else sizes.pop(self.axis - (self.axis > 0))
        if tuple(sizes) != self.cells.shape:
            raise TargetError(
                f"The place has the shape {self.cells.shape}, and the answer {shape}: make it of "
                "the shape of the answer's rows and columns."
            )
        if self.channel is not None and not 0 <= self.channel < channels:
            listed = "one channel, 0" if channels == 1 else f"channels 0 to {channels - 1}"
            raise TargetError(f"There is no channel {self.channel}: the answer has {listed}.")

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        own = OUTPUT if self.channel is None else f"channel {self.channel}"
        region = ExplainedRegion(self.where, int(self.cells.sum()), self.cells.shape)
        return ExplainedTarget(
            area_name(own.replace(" ", "_"), self.where), label=own, region=region
        )


def areas(
    what: str,
    places: Sequence[str],
    answer: AnswerMap,
    shape: Shape,
    placement: Placement | None,
) -> list[Target]:
    """What a text means for an answer that is a picture, or may be one.

    `what` is empty or "output" for all channels, or the index of a channel, and "top1" without a
    place is the whole picture; "not:" may be before each. `shape` is the answer's
    shape for one sample, (1, ...).

    Raises:
        TargetError: it is none of these, or the places cannot be used.
    """
    if PREDICTED in places:
        raise TargetError(f"Nothing is predicted in this answer, because {_no_classes(answer)}.")
    several = answer.channel_count(shape) > 1
    whole = ("", OUTPUT) if places else ("", OUTPUT, _DEFAULT)
    plain = what.removeprefix(NOT).strip() in whole
    guessed = answer.kind == "unknown" and not places and (several or not plain)
    if guessed:
        raise TargetError(_either(answer, shape))
    where = "@".join(places or [ALL])
    cells = cells_at(places, placement, answer.grid(shape))

    def channel(name: str) -> int | None:
        return None if name in whole else _channel(name, answer)

    def area(name: str) -> Area:
        target = Area(cells, answer.channels, channel(name), where)
        target.check(shape[1:])
        return target

    def other(own: Target, name: str) -> Target:
        assert isinstance(own, Area), "the first target is an area"
        return replace(own, channel=channel(name))

    return [compared(what, None, area, other)]


_DEFAULT = "top1"


def _channel(text: str, answer: AnswerMap) -> int:
    if not re.fullmatch(r"\d+", text):
        raise TargetError(f"{text!r} cannot be explained here, because {_no_classes(answer)}.")
    return int(text)


def _no_classes(answer: AnswerMap) -> str:
    return (
        f"the answer is taken for a picture without classes ({answer.why}): explain its mean at a "
        "place, as in @all, @X,Y or @box:X,Y,WIDTH,HEIGHT, or a channel, as in 0@all; if it does "
        "hold scores of classes, name them with --labels FILE"
    )


def _either(answer: AnswerMap, shape: Shape) -> str:
    return (
        f"The answer of shape {shape[1:]} may be a picture or a map of scores of classes: "
        f"{answer.why}. For a picture, explain its mean at a place, as in @all or @X,Y; "
        "for classes, name them with --labels FILE, or explain one, as in 0@predicted."
    )
