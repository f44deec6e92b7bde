"""The forms of the targets of each kind of answer, and texts that have the form of another kind."""

from __future__ import annotations

import re
from collections.abc import Mapping

from onnxplain.errors import TargetError
from onnxplain.targets.class_names import ClassNames, is_found, top_count

_PLACES = ("all", "X,Y", "box:X,Y,WIDTH,HEIGHT", "mask.png")

FORMS: Mapping[str, tuple[str, ...]] = {
    "number": ("output",),
    "classes": ("top1", "0", "LABEL", "all", "p>0.5", "expected", "0-1", "not:0"),
    "class map": ("top1", "0", "LABEL", "all", *(f"0@{place}" for place in _PLACES)),
    "picture": (*(f"@{place}" for place in _PLACES), "0@all"),
    "picture or class map": (*(f"@{place}" for place in _PLACES), "0@predicted"),
    "boxes": (
        *("person", "person#2", "person#any", "person@X,Y", "@box:X,Y,WIDTH,HEIGHT"),
        *("top1", "any", "person - dog", "not:person"),
    ),
    "text": ("text", "char:3", "step:4,17"),
    "embedding": ("similar:PICTURE", "element:0"),
    "array": (),
}
"""By kind of answer, the forms of its targets; the first one is the default where there is one."""

_WORDS: Mapping[str, str] = {
    "classes": "a score for each class",
    "class map": "a score for each class in each cell",
    "boxes": "boxes that a detector finds",
}
"""By kind of answer with classes, what it holds, in words."""

_MARKED = re.compile(
    r"(all|any|predicted|expected|output|text)|(char|step|element|similar|box)\s*:.*"
    r"|p\s*[<>=].*|.*#(\d+|any)|top\d+|.*\s*-"
)
"""Texts that may be the targets of some kind of answer, and are no part of a label."""

_LESS = re.compile(r"p\s*(<|=).*")


def listed(kind: str) -> str:
    """The forms of the targets of a kind of answer, as a list in a sentence."""
    *first, last = FORMS[kind]
    return f"{', '.join(first)} or {last}"


def class_index(what: str, labels: ClassNames | None, kind: str) -> int:
    """The index of a class from its index or label, in an answer of this kind.

    A number is an index; one that is above all indices is a label, if one class is called so.

    Raises:
        TargetError: the text has the form of a target that is no class, or it is no index and
            there are no labels, or no class or several have the label.
    """
    if re.fullmatch(r"-?\d+", what):
        index = int(what)
        named = labels.named(what) if labels is not None and index > labels.last else None
        return index if named is None else named
    _check_form(what, labels, kind)
    if labels is None:
        raise TargetError(
            f"The target {what!r} is no class index and this model has no labels: give the index, "
            "or the names with --labels FILE."
        )
    return labels.find(what)


def _check_form(what: str, labels: ClassNames | None, kind: str) -> None:
    """Raise TargetError for a text that is no whole label and has the form of another target."""
    if not what:
        raise TargetError(f"A class is missing: the targets are {listed(kind)}.")
    if labels is not None and labels.holds(what):
        return
    if _LESS.fullmatch(what) and "p>0.5" in FORMS[kind]:
        raise TargetError(f"{what!r} cannot be read: only > and >= are known, as in 'p>0.5'.")
    if _MARKED.fullmatch(what):
        raise TargetError(
            f"{what!r} names no single class here: this answer holds {_WORDS[kind]}, and its "
            f"targets are {listed(kind)}."
        )
    if labels is not None and not is_found(what, labels):
        _check_spaces(what, labels)


def _check_spaces(what: str, labels: ClassNames) -> None:
    """Raise TargetError if the text is two classes with "-" and no spaces between them."""
    for dash in re.finditer("-", what):
        first, second = what[: dash.start()].strip(), what[dash.end() :].strip()
        if _is_class(first, labels) and _is_class(second, labels):
            raise TargetError(
                f"No class is called {what!r}: the difference of two classes has spaces around "
                f"its minus sign, {f'{first} - {second}'!r}."
            )


def _is_class(text: str, labels: ClassNames) -> bool:
    """Whether a text is a rank, an index or a whole label."""
    ranked = text.isdecimal() or top_count(text) is not None
    return ranked or labels.holds(text)
