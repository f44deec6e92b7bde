"""Resolve a user's description of targets to the targets of one sample."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from onnxplain.analysis.answer_maps import AnswerMap
from onnxplain.errors import MapError, NotInPictureError, PreprocessError, TargetError
from onnxplain.images.geometry import Placement
from onnxplain.model.shapes import Shape
from onnxplain.targets.contrast import compared
from onnxplain.targets.pictures import areas
from onnxplain.targets.probabilities import (
    EXPECTED,
    Probabilities,
    check_count,
    check_point,
    classes_above,
    expected,
    is_threshold,
    needs_probabilities,
    required,
)
from onnxplain.targets.regions import ALL, FORMS, PREDICTED, cells_at
from onnxplain.targets.types import (
    OUTPUT,
    Class,
    Element,
    Output,
    Region,
    Target,
    class_count,
    is_one_number_per_class,
    middle,
)
from onnxplain.tensors import Array, FloatArray


class Named(Protocol):
    """What was found in one sample of a model whose targets are not classes."""

    def resolve(self, text: str) -> list[Target]:
        """The targets that a user's text means; TargetError if it means none."""


class ClassNames(Protocol):
    """Names of classes, and a search for classes by name."""

    @property
    def origin(self) -> str:
        """The source of the names, in words."""

    @property
    def last(self) -> int:
        """The highest index that has a name."""

    @property
    def in_order(self) -> bool:
        """Whether the names were given as a list, in the order of the classes."""

    def name(self, index: int) -> str | None:
        """The label of a class; None if it has none."""

    def find(self, text: str) -> int:
        """The index of the class with a label; TargetError if there is none or several."""


TargetSpec = int | np.integer[Any] | str | Target


@dataclass(frozen=True, eq=False)
class Answered:
    """A model's answer for one sample, and what is known about it.

    Attributes:
        values: the scores, (1, ...).
        labels: the names of the classes, if known.
        classes: the axis of the classes if the answer is a map of scores, with one score for each
            class in each cell; else None.
        threshold: in a map, a class is predicted where its score is above this, or if it is None,
            where its score is the largest.
        placement: how the picture became the sample; None if there are no rows and columns.
        shapes: shapes of the tensors that targets read, for one sample, without the batch axis; by
            default only the shape of `values`.
        embedding: why the answer is an embedding and has no classes, in words; empty if it is none.
        named: says what the text of targets means, if they are not classes.
        answer_map: what the answer is if it has rows and columns; by default scores of `classes`.
        probabilities: how scores of classes become probabilities; None if they have none.

    Raises:
        PreprocessError: `labels` has more classes than the model, so all labels may be wrong.
    """

    values: Array
    labels: ClassNames | None = None
    classes: int | None = None
    threshold: float | None = None
    placement: Placement | None = None
    shapes: Sequence[Shape] = ()
    embedding: str = ""
    named: Named | None = None
    answer_map: AnswerMap | None = None
    probabilities: Probabilities | None = None

    def __post_init__(self) -> None:
        count = self._class_count
        if self.labels is not None and count > 1 and self.labels.last >= count:
            raise PreprocessError(
                f"The labels ({self.labels.origin}) go up to class {self.labels.last}, and the "
                f"model's last class is {count - 1}: give the labels that belong to it."
            )

    @property
    def _class_count(self) -> int:
        """Number of classes; 0 if it is unknown."""
        shape = self.values.shape[1:]
        if self.answer_map is not None and self.answer_map.kind != "classes":
            return 0
        if self.classes is not None:
            return int(self.values.shape[self.classes])
        return int(self.values[0].size) if is_one_number_per_class(shape) else 0

    @property
    def has_classes(self) -> bool:
        """Whether it is known which numbers belong to a class."""
        return self._class_count > 0 and not self.embedding

    @property
    def warning(self) -> str:
        """A warning about a list of labels that is shorter than that of classes; else empty."""
        count, labels = self._class_count, self.labels
        if labels is None or not labels.in_order or labels.last + 1 >= count:
            return ""
        return (
            f"The labels ({labels.origin}) are a list of {labels.last + 1}, and the model has "
            f"{count} classes, so names may belong to other classes: give a name for each class, "
            "or names by index."
        )

    def label(self, index: int) -> str | None:
        """The name of a class; None if it has none."""
        return None if self.labels is None else self.labels.name(index)

    def called(self, index: int) -> str:
        """A class in words, for messages: its index and label."""
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
            MapError: the scores are not finite, so there is no largest one.
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
        """All classes, sorted by score, the largest first; equal scores by index."""
        return np.argsort(-self._finite, kind="stable")

    def predicted(self) -> Array:
        """Where each class is predicted, bool (classes, rows, columns)."""
        maps = self.maps
        if self.threshold is not None:
            return np.asarray(maps > self.threshold)
        return np.asarray(maps.argmax(axis=0) == np.arange(len(maps))[:, None, None])

    @property
    def is_output(self) -> bool:
        """Whether the answer is one number that has no name of a class.

        If there are several names, it is not known which of them the number belongs to.
        """
        single = self.values[0].size == 1 and self.classes is None
        return single and (self.labels is None or self.labels.last > 0)


class Unanswered(Answered):
    """An answer of which only the shape is known; it has one number per class."""

    def top(self, count: int) -> Sequence[int]:
        """The codes −1, −2, ... for the classes with the largest scores, see `Class`."""
        _check_count(count, self.values.shape[1:])
        return [-1 - rank for rank in range(count)]


def as_list(given: TargetSpec | Iterable[TargetSpec], count: int = 1) -> list[TargetSpec]:
    """A list with one target `count` times, or with the given targets.

    Raises:
        TargetError: `given` is neither a target nor several, or a user's own target is not valid.
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
    """Check what a user's own class of targets may lack.

    Raises:
        TargetError: its name is not a string, or it has no hash.
    """
    kind = type(target).__name__
    if not isinstance(target.name, str):
        raise TargetError(
            f"The name of a target of class {kind} is not a string: give the field `name` a "
            "default, or write it as a property."
        )
    try:
        hash(target)
    except TypeError:
        raise TargetError(
            f"A target of class {kind} has no hash, which is needed to keep its graph: make the "
            "class a dataclass(frozen=True), with eq=False if a field is an array."
        ) from None


def reads_of(spec: TargetSpec) -> tuple[str, ...]:
    """The tensors that a target reads; empty if it reads only the tensor of the scores."""
    return spec.reads if isinstance(spec, Target) else ()


def asks_for_the_top(spec: TargetSpec) -> bool:
    """Whether the target is "top1", "top2", ..., so that the model chooses the classes."""
    return isinstance(spec, str) and _TOP.fullmatch(spec.strip()) is not None


def needs_answer(spec: TargetSpec) -> bool:
    """Whether a target can be resolved only if the sample's answer is known."""
    return isinstance(spec, str) and needs_probabilities(spec)


def resolve(spec: TargetSpec, answered: Answered) -> list[Target]:
    """The targets that `spec` means for one sample.

    `spec` is a target, a class index, a label, "top1", "top5", "all", "p>0.5", "expected", or
    several of these, separated by commas. A label that contains commas is not split. If the answer
    is a map of scores, a class is explained where it is predicted, or at the places given after
    "@", see `regions.place`; several "@" mean the intersection. In an answer that is a picture, a
    place without a class means all channels there. If the answer is not one number per class, a
    list of as many indices as it has axes means one element, and so does "element:3,10,10" for any
    answer. An embedding has no classes: its targets are elements, and objects such as `Similarity`.

    Raises:
        TargetError: no class or several classes match, or the class is predicted nowhere.
        MapError: the scores are not finite, so there is no top class.
    """
    shape = answered.values.shape[1:]
    if isinstance(spec, Target):
        spec.check(*(answered.shapes or [shape]))
        return [spec]
    if answered.named is not None:
        return answered.named.resolve(str(spec))
    text = str(spec).strip(" ,")
    element = _ELEMENT.fullmatch(text)
    if element:
        return [_element(element[1], shape)]
    if answered.embedding:
        raise TargetError(
            f"The answer is an embedding ({answered.embedding}), so {text!r} is no class: compare "
            "it with a picture, as in --target similar:PICTURE, or explain one component, as in "
            f"--target element:{middle(shape)}; if it does hold classes, name them with --labels "
            "FILE."
        )
    labeled = _label_first(text, answered.labels)
    if labeled is not None:
        return _meant(*labeled, answered)
    check_point(text)
    indices = _INDICES.fullmatch(text)
    has_rank = answered.classes is None or text.count(",") + 1 == len(shape)
    if indices and has_rank and not is_one_number_per_class(shape):
        return [_element(text, shape)]
    text = re.sub(r"\s*([,@])\s*", r"\1", text)
    if not _LIST.fullmatch(text):
        raise TargetError(
            f"The target {text!r} cannot be read: give a class or top1; for a segmentation model, "
            f"a place may follow after @ ({FORMS})."
        )
    pieces = [match[0].strip() for match in _PIECE.finditer(text)]
    return [t for piece in pieces for t in _meant(*_parted(piece), answered)]


_PLACE = r"box:-?\d+,-?\d+,\d+,\d+|\d+,\d+|(?!\d+,\d)[^,@]+"  # the alternatives exclude each other
_PIECE = re.compile(rf"(?:[^,@]+(?:@(?:{_PLACE}))*|(?:@(?:{_PLACE}))+)")
_LIST = re.compile(rf"{_PIECE.pattern}(?:,+\s*{_PIECE.pattern})*")
_INDICES = re.compile(r"-?\d+(\s*,\s*-?\d+)+")
_ELEMENT = re.compile(rf"element:\s*(-?\d+|{_INDICES.pattern})")
_TOP = re.compile(r"top(\d+)")


def _element(text: str, shape: Shape) -> Element:
    """The element at indices with commas between them."""
    target = Element(tuple(map(int, text.split(","))))
    target.check(shape)
    return target


def _label_first(text: str, labels: ClassNames | None) -> tuple[str, list[str]] | None:
    """A label that contains commas or "@", and its places; None if there is no such label."""
    pieces = text.split("@")
    for count in range(len(pieces), 0, -1):
        label = "@".join(pieces[:count]).strip()
        places = [re.sub(r"\s*,\s*", ",", piece.strip()) for piece in pieces[count:]]
        if _is_label(label, labels) and all(re.fullmatch(_PLACE, place) for place in places):
            return label, places
    return None


def _parted(piece: str) -> tuple[str, list[str]]:
    """A class and its places, from text such as "15@predicted@box:0,0,9,9"."""
    what, *places = piece.split("@")
    return what.strip(), places


def _meant(what: str, places: Sequence[str], answered: Answered) -> list[Target]:
    found, shape = answered.answer_map, answered.values.shape
    # Who asks where a class is predicted says that there are classes.
    has_classes = answered.classes is not None and what and PREDICTED in places
    if found is not None and found.kind != "classes" and not has_classes:
        return areas(what, places, found, shape, answered.placement)
    if answered.classes is not None:
        return _in_map(what, places, answered)
    class_count(shape[1:])
    if places:
        raise TargetError(
            f"{what}@{'@'.join(places)} names a place, but only an answer with rows and columns, "
            f"such as that of a segmentation model, has places, and this one has the shape "
            f"{shape[1:]}."
        )
    if answered.is_output:
        return [compared(what, lambda _: False, _output, lambda _, name: _output(name))]
    several = _several(what, answered)
    if several is not None:
        return [Class(i, answered.label(i)) for i in several]
    if what == EXPECTED:
        names = [answered.label(i) for i in range(answered.values[0].size)]
        return [expected(required(what, answered.probabilities), names)]
    return [
        compared(
            what,
            lambda text: is_found(text, answered.labels),
            lambda name: _one_class(name, answered),
            lambda _, name: _one_class(name, answered),
        )
    ]


def _several(what: str, answered: Answered) -> Sequence[int] | None:
    """The classes that "top5", "all" or "p>0.5" means; None for other texts."""
    top = _TOP.fullmatch(what)
    if top:
        return answered.top(int(top[1]))
    if what == ALL:
        found: Sequence[int] = range(answered.values[0].size)
    elif is_threshold(what):
        found = classes_above(what, answered.values, answered.probabilities)
    else:
        return None
    check_count(what, len(found))
    return found


def _output(what: str) -> Target:
    """The only number of an answer."""
    if what not in (OUTPUT, "top1", "0"):
        raise TargetError(
            f"There is no {what!r}: the answer is one number for each sample; explain it with "
            "--target output, which is the default."
        )
    return Output()


def _in_map(what: str, places: Sequence[str], answered: Answered) -> list[Target]:
    """Targets in an answer that holds a score for each class in each cell."""
    found = answered.answer_map
    if what:
        return _regions(what, places or [PREDICTED], answered)
    if len(answered.maps) == 1:
        return _regions("0", places, answered)
    if found is None or found.sure:
        why = "" if found is None else f" ({found.why})"
        raise TargetError(
            f"The place @{'@'.join(places)} names no class, and the answer holds scores of "
            f"classes{why}: put one before it, as in 0@{'@'.join(places)}."
        )
    return areas(what, places, found, answered.values.shape, answered.placement)


def _one_class(what: str, answered: Answered) -> Class:
    """A class by its index, its label, or as "top2", which means only the second one."""
    top = _TOP.fullmatch(what)
    if top:
        index = answered.top(int(top[1]))[-1]
        return Class(index, answered.label(index))
    return _class(class_index(what, answered.labels), answered)


def class_index(what: str, labels: ClassNames | None) -> int:
    """The index of a class from its index or label.

    Raises:
        TargetError: it is no index and there are no labels, or no class or several have the label.
    """
    if re.fullmatch(r"-?\d+", what):
        return int(what)
    if labels is None:
        raise TargetError(
            f"The target {what!r} is no class index and this model has no labels: give the index, "
            "or the names with --labels FILE."
        )
    return labels.find(what)


def _is_label(text: str, labels: ClassNames | None) -> bool:
    """Whether a class has the label `text`, which contains commas or "@"."""
    return re.search("[,@]", text) is not None and is_found(text, labels)


def is_found(text: str, labels: ClassNames | None) -> bool:
    """Whether a label matches the text."""
    if labels is None:
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
    """A class, or the classes with the largest predicted areas, at places of a map."""
    predicted, axis = answered.predicted(), answered.classes
    assert axis is not None, "the answer is no map of scores"
    here = cells_at(
        [text for text in places if text != PREDICTED], answered.placement, predicted.shape[1:]
    )
    where = "@".join(places)
    areas = (predicted & here).sum(axis=(1, 2))
    largest = [int(i) for i in np.argsort(-areas, kind="stable") if areas[i]]

    def region(index: int) -> Region:
        cells = here & predicted[index] if PREDICTED in places else here
        if not cells.any():
            raise NotInPictureError(_nowhere(index, where, largest, answered))
        return Region(index, cells, axis, answered.label(index), where)

    def other_class(own: Target, name: str) -> Target:
        assert isinstance(own, Region), "the first target is a region"
        index = _one_wanted(name, largest, answered)
        return replace(own, index=index, label=answered.label(index))

    if what == ALL or _TOP.fullmatch(what):
        return [region(index) for index in _wanted(what, largest, answered)]
    return [
        compared(
            what,
            lambda text: is_found(text, answered.labels),
            lambda name: region(_one_wanted(name, largest, answered)),
            other_class,
        )
    ]


def _wanted(what: str, largest: Sequence[int], answered: Answered) -> Sequence[int]:
    """Indices of classes in a map, given by index, label or rank of their areas."""
    top, count = _TOP.fullmatch(what), len(answered.maps)
    if what == ALL:
        top = _TOP.fullmatch(f"top{count}")
    if top and int(top[1]) and largest:
        return largest[: int(top[1])]
    if top:
        why = "no class is predicted there; name one and a place, as in 0@all"
        raise TargetError(f"There is no {what}: {why if int(top[1]) else 'count from top1'}.")
    index = class_index(what, answered.labels)
    if not 0 <= index < count:
        listed = "one class, 0" if count == 1 else f"{count} classes, 0 to {count - 1}"
        raise TargetError(f"There is no class {index}: the model has {listed}.")
    return [index]


def _one_wanted(what: str, largest: Sequence[int], answered: Answered) -> int:
    """The index of one class in a map; "top2" means only the second one."""
    found, top = _wanted(what, largest, answered), _TOP.fullmatch(what)
    if top and len(found) < int(top[1]):
        raise TargetError(f"There is no {what}: only {len(found)} classes are predicted there.")
    return found[-1]


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
