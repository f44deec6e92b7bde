"""Resolve a user's description of targets to the targets of one sample."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from onnxplain.errors import TargetError
from onnxplain.model.shapes import Shape
from onnxplain.targets.answer_shape import class_count, is_one_number_per_class, middle
from onnxplain.targets.answered import Answered
from onnxplain.targets.class_names import ClassNames, is_found, top_count
from onnxplain.targets.classes import classes
from onnxplain.targets.elements import Element
from onnxplain.targets.pictures import areas
from onnxplain.targets.places import FORMS, PLACE, PREDICTED
from onnxplain.targets.probabilities import check_point, needs_probabilities
from onnxplain.targets.regions import regions
from onnxplain.targets.target import Target

TargetSpec = int | np.integer[Any] | str | Target


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
    return isinstance(spec, str) and top_count(spec.strip()) is not None


def needs_answer(spec: TargetSpec) -> bool:
    """Whether a target can be resolved only if the sample's answer is known."""
    return isinstance(spec, str) and needs_probabilities(spec)


def resolve(spec: TargetSpec, answered: Answered) -> list[Target]:
    """The targets that `spec` means for one sample.

    `spec` is a target, a class index, a label, "top1", "top5", "all", "p>0.5", "expected", or
    several of these, separated by commas. A label that contains commas is not split. If the answer
    is a map of scores, a class is explained where it is predicted, or at the places given after
    "@", see `places.place`; several "@" mean the intersection. In an answer that is a picture, a
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


_PIECE = re.compile(rf"(?:[^,@]+(?:@(?:{PLACE}))*|(?:@(?:{PLACE}))+)")
_LIST = re.compile(rf"{_PIECE.pattern}(?:,+\s*{_PIECE.pattern})*")
_INDICES = re.compile(r"-?\d+(\s*,\s*-?\d+)+")
_ELEMENT = re.compile(rf"element:\s*(-?\d+|{_INDICES.pattern})")


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
        if _is_label(label, labels) and all(re.fullmatch(PLACE, place) for place in places):
            return label, places
    return None


def _parted(piece: str) -> tuple[str, list[str]]:
    """A class and its places, from text such as "15@predicted@box:0,0,9,9"."""
    what, *places = piece.split("@")
    return what.strip(), places


def _meant(what: str, places: Sequence[str], answered: Answered) -> list[Target]:
    """What a class and its places mean; the kind of answer decides who reads them."""
    found, shape = answered.answer_map, answered.values.shape
    # Who asks where a class is predicted says that there are classes.
    has_classes = answered.classes is not None and what and PREDICTED in places
    if found is not None and found.kind != "classes" and not has_classes:
        return areas(what, places, found, shape, answered.placement)
    if answered.classes is not None:
        return regions(what, places, answered)
    class_count(shape[1:])
    if places:
        raise TargetError(
            f"{what}@{'@'.join(places)} names a place, but only an answer with rows and columns, "
            f"such as that of a segmentation model, has places, and this one has the shape "
            f"{shape[1:]}."
        )
    return classes(what, answered)


def _is_label(text: str, labels: ClassNames | None) -> bool:
    """Whether a class has the label `text`, which contains commas or "@"."""
    return re.search("[,@]", text) is not None and is_found(text, labels)
