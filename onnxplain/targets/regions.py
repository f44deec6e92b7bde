"""Targets in an answer that is a map of scores of classes, and how users name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxplain.counts import counted
from onnxplain.errors import NotInPictureError, TargetError
from onnxplain.targets.answered import Answered
from onnxplain.targets.class_names import (
    check_class,
    class_in_words,
    class_name,
    top_count,
)
from onnxplain.targets.contrast import NOT, compared
from onnxplain.targets.described import ExplainedRegion, ExplainedTarget, region_name
from onnxplain.targets.elements import WeightedSum, mean_weights
from onnxplain.targets.forms import class_index
from onnxplain.targets.pictures import areas
from onnxplain.targets.places import ALL, PREDICTED, cells_at
from onnxplain.targets.target import Target
from onnxplain.tensors import Array


@dataclass(frozen=True, eq=False)
class Region(WeightedSum):
    """The mean score of a class over some cells of a map of scores, the answer of segmentation.

    `cells` is bool (rows, columns), and `axis` is the axis of the classes in the answer (N, ...):
    1, or -1 if classes are last. `where` describes the cells in words. The cells do not depend on
    the answer.

    Vinogradova, Dibrov and Myers, "Towards Interpretable Semantic Segmentation via
    Gradient-weighted Class Activation Mapping", AAAI 2020, with the mean instead of their sum.

    Raises:
        TargetError: `cells` selects no cell.
    """

    index: int
    cells: Array
    axis: int = 1
    label: str | None = None
    where: str = "region"

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", np.asarray(self.cells, bool))
        if not self.cells.any():
            raise TargetError(f"The region {self.where!r} holds no cell of the answer's map.")

    @property
    def name(self) -> str:
        """Index, label, and which cells, as in `15 person@predicted`."""
        return f"{class_name(self.index, self.label)}@{self.where}"

    @property
    def pixels(self) -> int:
        """Number of cells."""
        return int(self.cells.sum())

    def parameters(self, shape: tuple[int, ...]) -> Mapping[str, Array]:
        """See `Target`."""
        return {"weights": mean_weights(shape, self.cells, self.axis, self.index)}

    def check(self, shape: tuple[int, ...]) -> None:
        """See `Target`: the answer must have this class, and a map of the shape of `cells`."""
        classes, *grid = np.moveaxis(np.empty((0, *shape)), self.axis, 1).shape[1:]
        if tuple(grid) != self.cells.shape:
            raise TargetError(
                f"The region has the shape {self.cells.shape}, and the answer {shape} with its "
                f"classes on axis {self.axis}: make it of the shape of the answer's other axes."
            )
        check_class(self.index, classes)

    @property
    def described(self) -> ExplainedTarget:
        """See `Target`."""
        region = ExplainedRegion(self.where, self.pixels, self.cells.shape)
        name = region_name(self.index, self.label, self.where)
        return ExplainedTarget(name, self.index, self.label, region)


def regions(what: str, places: Sequence[str], answered: Answered) -> list[Target]:
    """What a text means for an answer that holds a score for each class in each cell.

    A class without a place is explained where it is predicted. `what` is empty, or "not:", for a
    place without a class: then the only class of a model is meant, or all channels if the answer
    may be a picture.

    Raises:
        TargetError: there is no such class, or the places cannot be used.
        NotInPictureError: the class is predicted nowhere.
        MapError: the scores are not finite.
    """
    found = answered.answer_map
    if what.removeprefix(NOT).strip():
        return _regions(what, places or [PREDICTED], answered)
    if len(answered.maps) == 1:
        return _regions(f"{what}0", places or [PREDICTED], answered)
    if found is None or found.sure:
        why, where = "" if found is None else f" ({found.why})", "@".join(places or [ALL])
        raise TargetError(
            f"The place @{where} names no class, and the answer holds scores of classes{why}: put "
            f"one before it, as in {what}0@{where}."
        )
    return areas(what, places, found, answered.values.shape, answered.placement)


def _regions(what: str, places: Sequence[str], answered: Answered) -> list[Target]:
    """A class, or the classes with the largest predicted areas, at places of a map."""
    predicted, axis = answered.predicted(), answered.classes
    assert axis is not None, "the answer is no map of scores"
    here = cells_at(
        [text for text in places if text != PREDICTED], answered.placement, predicted.shape[1:]
    )
    where = "@".join(places)
    sizes = (predicted & here).sum(axis=(1, 2))
    largest = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i]]

    def region(index: int) -> Region:
        cells = here & predicted[index] if PREDICTED in places else here
        if not cells.any():
            raise NotInPictureError(_nowhere(index, where, largest, answered))
        return Region(index, cells, axis, answered.label(index), where)

    def other_class(own: Target, name: str) -> Target:
        assert isinstance(own, Region), "the first target is a region"
        index = _one_wanted(name, largest, answered)
        return replace(own, index=index, label=answered.label(index))

    if what == ALL or top_count(what) is not None:
        return [region(index) for index in _several(what, largest, answered)]
    return [
        compared(
            what,
            answered.labels,
            lambda name: region(_one_wanted(name, largest, answered)),
            other_class,
        )
    ]


def _several(what: str, largest: Sequence[int], answered: Answered) -> Sequence[int]:
    """Indices of the classes in a map that "all" or "top5" means."""
    top = len(answered.maps) if what == ALL else top_count(what)
    if top and largest:
        return largest[:top]
    why = "no class is predicted there; name one and a place, as in 0@all"
    raise TargetError(f"There is no {what}: {why if top else 'count from top1'}.")


def _one_wanted(what: str, largest: Sequence[int], answered: Answered) -> int:
    """The index of one class in a map; "top2" means only the second one."""
    top = top_count(what)
    if top is None:
        index = class_index(what, answered.labels, "class map")
        check_class(index, len(answered.maps))
        return index
    found = _several(what, largest, answered)
    if len(found) < top:
        few = f"{counted(len(found), 'class is', 'classes are')} predicted there"
        raise TargetError(f"There is no {what}: only {few}.")
    return found[-1]


def _nowhere(index: int, where: str, largest: Sequence[int], answered: Answered) -> str:
    there = "" if where == PREDICTED else f" at {where}"
    called = class_in_words(index, answered.labels)
    listed = ", ".join(class_in_words(i, answered.labels) for i in largest[:5])
    others = f"what is predicted is {listed}; " if largest else ""
    return (
        f"Class {called} is predicted nowhere in this picture{there}: {others}"
        f"explain it over the whole picture with {index}@all."
    )
