"""A class by index, label or rank: in a user's text, and in words."""

from __future__ import annotations

import re
from typing import Protocol

from onnxplain.errors import TargetError


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

    def named(self, text: str) -> int | None:
        """The class with exactly this label; None if there is none, or several."""

    def holds(self, text: str) -> bool:
        """Whether a class has this whole label, or this synonym in its label."""

    def find(self, text: str) -> int:
        """The index of the class with a label; TargetError if there is none or several."""


_TOP = re.compile(r"top(\d+)")


def top_count(text: str) -> int | None:
    """The number of classes or boxes that "top1", "top5", ... means; None for other texts."""
    found = _TOP.fullmatch(text)
    return None if found is None else int(found[1])


def is_found(text: str, labels: ClassNames | None) -> bool:
    """Whether a label matches the text."""
    if labels is None:
        return False
    try:
        labels.find(text)
    except TargetError:
        return False
    return True


def check_class(index: int, count: int) -> None:
    """Check that a model has a class.

    Raises:
        TargetError: it has none with this index.
    """
    if not 0 <= index < count:
        listed = "one class, 0" if count == 1 else f"{count} classes, 0 to {count - 1}"
        raise TargetError(f"There is no class {index}: the model has {listed}.")


def class_label(index: int, labels: ClassNames | None) -> str | None:
    """The label of a class; None if it has none."""
    return None if labels is None else labels.name(index)


def class_name(index: int, label: str | None) -> str:
    """Index and label, as in `282 tiger cat`."""
    return str(index) if label is None else f"{index} {label}"


def class_in_words(index: int, labels: ClassNames | None) -> str:
    """A class in a message, as in `282 (tiger cat)`."""
    label = class_label(index, labels)
    return str(index) if label is None else f"{index} ({label})"
