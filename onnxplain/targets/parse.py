"""From what a user calls a target to the targets that it means for one sample."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from onnxplain.errors import MapError, PreprocessError, TargetError
from onnxplain.images.geometry import Placement
from onnxplain.model.shapes import Shape
from onnxplain.targets.regions import ALL, FORMS, place
from onnxplain.targets.types import (
    Class,
    Element,
    Region,
    Target,
    class_count,
    is_one_number_per_class,
)
from onnxplain.tensors import Array, FloatArray

PREDICTED = "predicted"


class ClassNames(Protocol):
    """Names of classes, and classes by name. `last` is the highest index that has a name."""

    @property
    def origin(self) -> str:
        """Where the names come from, in words."""

    @property
    def last(self) -> int:
        """The highest index that has a name."""

    def name(self, index: int) -> str | None:
        """The label of a class; None where it has none."""

    def find(self, text: str) -> int:
        """The class that a label means; TargetError if none or several."""


TargetSpec = int | np.integer[Any] | str | Target


@dataclass(frozen=True, eq=False)
class Answered:
    """A model's answer to one sample, and what is known about it.

    `values` is (1, ...), as scores are read from it. `classes` is the axis of the classes where
    the answer is a map of scores, with a number for each class in each cell, else None. Such a
    class is predicted where its score is above `threshold`, or with None where it is the largest.
    `placement` says how the picture became the sample; None where that has no rows and columns.
    `shapes` are those of the tensors that targets read, for one sample, without the batch axis: by
    default that of `values`.

    Raises:
        PreprocessError: there are names of classes that the model does not have: then all of them
            may be shifted.
    """

    values: Array
    labels: ClassNames | None = None
    classes: int | None = None
    threshold: float | None = None
    placement: Placement | None = None
    shapes: Sequence[Shape] = ()

    def __post_init__(self) -> None:
        count = self._class_count
        if self.labels is not None and count > 1 and self.labels.last >= count:
            raise PreprocessError(
                f"The labels ({self.labels.origin}) go up to class {self.labels.last}, and the "
                f"model's last class is {count - 1}: give the labels that belong to it."
            )

    @property
    def _class_count(self) -> int:
        """Number of classes; 0 where it is not known."""
        shape = self.values.shape[1:]
        if self.classes is not None:
            return int(self.values.shape[self.classes])
        return int(self.values[0].size) if is_one_number_per_class(shape) else 0

    @property
    def has_classes(self) -> bool:
        """Whether it is known which numbers belong to a class."""
        return self._class_count > 0

    def label(self, index: int) -> str | None:
        """The name of a class; None where it has none."""
        return None if self.labels is None else self.labels.name(index)

    def called(self, index: int) -> str:
        """A class in words."""
        label = self.label(index)
        return str(index) if label is None else f"{index} ({label})"

    @property
    def maps(self) -> FloatArray:
        """The map of each class, (classes, rows, columns)."""
        assert self.classes is not None, "the answer is no map of scores"
        found: FloatArray = np.moveaxis(self.values, self.classes, 1)[0].astype(np.float32)
        if not np.isfinite(found).all():
            raise _not_finite()
        return found

    def top(self, count: int) -> Sequence[int]:
        """The classes with the largest scores, the largest first.

        Raises:
            MapError: the scores are not finite, so that there is no such class.
            TargetError: the answer is not one number per class, or holds fewer classes.
        """
        _check_count(count, self.values.shape[1:])
        if count == 1:
            return [int(self._finite.argmax())]
        return [int(i) for i in self._order[:count]]

    @functools.cached_property
    def _finite(self) -> FloatArray:
        """The score of each class."""
        scores: FloatArray = self.values[0].ravel().astype(np.float32)
        if not np.isfinite(scores).all():
            raise _not_finite()
        return scores

    @functools.cached_property
    def _order(self) -> Array:
        """All classes, the one with the largest score first, and of equal ones the first."""
        return np.argsort(-self._finite, kind="stable")

    def predicted(self) -> Array:
        """Where each class is predicted, (classes, rows, columns)."""
        maps = self.maps
        if self.threshold is not None:
            return np.asarray(maps > self.threshold)
        return np.asarray(maps.argmax(axis=0) == np.arange(len(maps))[:, None, None])

    def seen(self) -> Array:
        """The cells that hold something of the picture, (rows, columns): no padding around it."""
        grid = self.maps.shape[1:]
        if self.placement is None:
            return np.ones(grid, bool)
        return place(ALL, self.placement, grid)


class Unanswered(Answered):
    """The same, as long as only the shape of the answer is known: one number per class."""

    def top(self, count: int) -> Sequence[int]:
        """Codes for those classes, see `Class`."""
        _check_count(count, self.values.shape[1:])
        return [-1 - rank for rank in range(count)]


def as_list(given: TargetSpec | Iterable[TargetSpec], count: int = 1) -> list[TargetSpec]:
    """One target `count` times, or several as they are.

    Raises:
        TargetError: it is neither.
    """
    if isinstance(given, int | np.integer | str | Target):
        specs: list[TargetSpec] = [given] * count
    elif isinstance(given, Iterable):
        specs = list(given)
    else:
        raise TargetError(
            f"{given!r} is no target: give a class index, a label, 'top1', or an object of "
            "onnxplain.targets."
        )
    for spec in specs:
        if isinstance(spec, Target):
            _check_own(spec)
    return specs


def _check_own(target: Target) -> None:
    """Check what a class of a user's own may lack.

    Raises:
        TargetError: its name is no text, or graphs cannot be kept for it.
    """
    kind = type(target).__name__
    if not isinstance(target.name, str):
        raise TargetError(
            f"The name of a target of class {kind} is no text: give the field `name` a default, or "
            "write it as a property."
        )
    try:
        hash(target)
    except TypeError:
        raise TargetError(
            f"A target of class {kind} has no hash, by which its graph is kept: make the class a "
            "dataclass(frozen=True), with eq=False where a field is an array."
        ) from None


def reads_of(spec: TargetSpec) -> tuple[str, ...]:
    """The tensors that a target reads; none where it reads that of the scores."""
    return spec.reads if isinstance(spec, Target) else ()


def asks_for_the_top(spec: TargetSpec) -> bool:
    """Whether no class in particular is meant, but those that the model finds."""
    return isinstance(spec, str) and _TOP.fullmatch(spec.strip()) is not None


def resolve(spec: TargetSpec, answered: Answered) -> list[Target]:
    """The targets that `spec` means for one sample.

    `spec` is a target, a class index, a label, "top1", "top5", or several of these between commas.
    A label may hold commas itself: what is called so as a whole stays whole. Where the answer is
    a map of scores, a class is explained where it is predicted, or at the places that follow it
    behind "@", see `places.place`; several "@" mean what they have in common. Where the answer is
    not one number per class, as many indices between commas as it has axes are those of one
    element.

    Raises:
        TargetError: no class, or more than one, is called that, or it is found nowhere.
        MapError: the scores are not finite, so that there is no top class.
    """
    shape = answered.values.shape[1:]
    if isinstance(spec, Target):
        spec.check(*(answered.shapes or [shape]))
        return [spec]
    text = str(spec).strip(" ,")
    labeled = _label_first(text, answered.labels)
    if labeled is not None:
        return _meant(*labeled, answered)
    indices = _INDICES.fullmatch(text)
    if indices and not is_one_number_per_class(shape):
        index = tuple(map(int, text.split(",")))
        if len(index) == len(shape) or answered.classes is None:
            return [Element(index)]
    text = re.sub(r"\s*([,@])\s*", r"\1", text)
    if not _LIST.fullmatch(text):
        raise TargetError(
            f"The target {text!r} cannot be read: it is a class or top1, for a segmenter with a "
            f"place behind an @ ({FORMS})."
        )
    pieces = [match[0].strip() for match in _PIECE.finditer(text)]
    return [t for piece in pieces for t in _meant(*_parted(piece), answered)]


_PLACE = r"box:-?\d+,-?\d+,\d+,\d+|\d+,\d+|(?!\d+,\d)[^,@]+"  # one reading only: no guesses
_PIECE = re.compile(rf"[^,@]+(?:@(?:{_PLACE}))*")
_LIST = re.compile(rf"{_PIECE.pattern}(?:,+\s*{_PIECE.pattern})*")
_INDICES = re.compile(r"-?\d+(\s*,\s*-?\d+)+")
_TOP = re.compile(r"top(\d+)")


def _label_first(text: str, labels: ClassNames | None) -> tuple[str, list[str]] | None:
    """A label that holds commas or "@" itself, and its places; None where there is none."""
    pieces = text.split("@")
    for count in range(len(pieces), 0, -1):
        label = "@".join(pieces[:count]).strip()
        places = [re.sub(r"\s*,\s*", ",", piece.strip()) for piece in pieces[count:]]
        if _is_label(label, labels) and all(re.fullmatch(_PLACE, place) for place in places):
            return label, places
    return None


def _parted(piece: str) -> tuple[str, list[str]]:
    """A class and its places."""
    what, *places = piece.split("@")
    return what.strip(), places


def _meant(what: str, places: Sequence[str], answered: Answered) -> list[Target]:
    if answered.classes is None:
        class_count(answered.values.shape[1:])
        if places:
            raise TargetError(
                f"{what}@{'@'.join(places)} names a place, and only a segmenter's answer, a score "
                f"for each class in each cell, has places: this one has the shape "
                f"{answered.values.shape[1:]}."
            )
        top = _TOP.fullmatch(what)
        if top:
            return [Class(i, answered.label(i)) for i in answered.top(int(top[1]))]
        return [_class(_index(what, answered), answered)]
    return _regions(what, places or [PREDICTED], answered)


def _index(what: str, answered: Answered) -> int:
    if re.fullmatch(r"-?\d+", what):
        return int(what)
    if answered.labels is None:
        raise TargetError(
            f"The target {what!r} is no class index and this model has no labels: give the index, "
            "or the names with --labels FILE."
        )
    return answered.labels.find(what)


def _is_label(text: str, labels: ClassNames | None) -> bool:
    """Whether a class is called `text`, commas and all."""
    if labels is None or not re.search("[,@]", text):
        return False
    try:
        labels.find(text)
    except TargetError:
        return False
    return True


def _class(index: int, answered: Answered) -> Class:
    target = Class(index, answered.label(index))
    target.check(answered.values.shape[1:])
    return target


def _check_count(count: int, shape: tuple[int, ...]) -> None:
    classes = class_count(shape)
    if not 1 <= count <= classes:
        raise TargetError(f"There is no top{count}: the model has {classes} classes.")


def _regions(what: str, places: Sequence[str], answered: Answered) -> list[Target]:
    """A class, or those with the largest predicted areas, at places of a map."""
    predicted, axis = answered.predicted(), answered.classes
    assert axis is not None, "the answer is no map of scores"
    here = answered.seen()
    for text in places:
        if text not in (ALL, PREDICTED):
            here &= place(text, answered.placement, here.shape)
    where = "@".join(places)
    areas = (predicted & here).sum(axis=(1, 2))
    largest = [int(i) for i in np.argsort(-areas, kind="stable") if areas[i]]
    found: list[Target] = []
    for index in _wanted(what, largest, answered):
        cells = here & predicted[index] if PREDICTED in places else here
        if not cells.any():
            raise TargetError(_nowhere(index, where, largest, answered))
        found.append(Region(index, cells, axis, answered.label(index), where))
    if not found:
        raise TargetError(
            f"There is no {what}: no class is predicted there; name one and a place, as in 0@all."
        )
    return found


def _wanted(what: str, largest: Sequence[int], answered: Answered) -> Sequence[int]:
    """Classes of a map by index, by name or by the rank of their areas."""
    top, count = _TOP.fullmatch(what), len(answered.maps)
    if top and int(top[1]):
        return largest[: int(top[1])]
    if top:
        raise TargetError(f"There is no {what}: count from top1.")
    index = _index(what, answered)
    if not 0 <= index < count:
        listed = "one class, 0" if count == 1 else f"{count} classes, 0 to {count - 1}"
        raise TargetError(f"There is no class {index}: the model has {listed}.")
    return [index]


def _nowhere(index: int, where: str, largest: Sequence[int], answered: Answered) -> str:
    there = "" if where == PREDICTED else f" at {where}"
    listed = ", ".join(map(answered.called, largest[:5]))
    others = f"what is predicted is {listed}; " if largest else ""
    return (
        f"Class {answered.called(index)} is predicted nowhere in this picture{there}: {others}"
        f"explain it over the whole picture with {index}@all."
    )


def _not_finite() -> MapError:
    return MapError(
        "The model's scores for this picture are not finite (NaN or infinite): check the "
        "preprocessing, or the model's numeric type."
    )
