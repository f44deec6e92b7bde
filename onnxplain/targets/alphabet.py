"""The classes of a text recognizer: its characters, and the blank between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onnxplain.errors import PreprocessError, TargetError
from onnxplain.targets.class_names import ClassNames

BLANKS = ("first", "last")
"""Names of the classes that are the blank of nearly all models; any other is given by index."""

_IN_PLAIN = "read at all steps of pictures of one color"

_CALLED_BLANK = re.compile(r"\W*(ctc)?[\W_]*(blank|blk)\W*", re.IGNORECASE)


@dataclass(frozen=True)
class Alphabet:
    """The classes of a recognizer.

    Attributes:
        count: number of classes.
        blank: the class that means no character; None if it is not known.
        names: the characters by class; empty if they are not known.
        origin: how the blank was found, in words.
    """

    count: int
    blank: int | None
    names: Mapping[int, str] = field(default_factory=dict)
    origin: str = ""

    @property
    def is_guess(self) -> bool:
        """Whether no one said which class is the blank, so that it was found by a test."""
        return self.origin == _IN_PLAIN

    def name(self, index: int) -> str | None:
        """The character of a class; None if it is not known."""
        return self.names.get(index)

    def written(self, index: int) -> str:
        """The character of a class, or its index in brackets, as it stands in a text."""
        return self.names.get(index, f"[{index}]")

    def known_blank(self) -> int:
        """The blank.

        Raises:
            TargetError: it is not known.
        """
        if self.blank is None:
            raise TargetError(
                f"It is not known which of the {self.count} classes is the blank, so no text can be"
                " read: give it with --blank first, --blank last or its index (PaddleOCR's is the "
                "first), or explain a step, as in --target step:0."
            )
        return self.blank


def find_alphabet(
    count: int,
    labels: ClassNames | None,
    given: str | int | None,
    with_paddle: bool,
    read_in_plain: Callable[[], int | None],
) -> Alphabet:
    """Which class is the blank, and which characters the others mean.

    Args:
        count: number of classes.
        labels: the characters, with or without the blank, if known.
        given: "first", "last" or an index; None if the user said nothing.
        with_paddle: whether `labels` are those in the metadata of PaddleOCR's models, which have
            the blank before them and, with one class more, a space after them.
        read_in_plain: the class that is read at all steps of plain pictures; None if several are.

    Raises:
        PreprocessError: the blank is none of the classes, or the labels do not fit their number.
    """
    blank, origin = _blank(count, labels, given, with_paddle, read_in_plain)
    return Alphabet(count, blank, _names(count, labels, blank), origin)


def _blank(
    count: int,
    labels: ClassNames | None,
    given: str | int | None,
    with_paddle: bool,
    read_in_plain: Callable[[], int | None],
) -> tuple[int | None, str]:
    if given is not None:
        return _given_blank(given, count), "given"
    if with_paddle:
        return 0, "model metadata"
    called = [] if labels is None or labels.last != count - 1 else _called_blank(count, labels)
    if len(called) == 1:
        return called[0], "its name among the labels"
    plain = read_in_plain()
    if plain in (0, count - 1):
        return plain, _IN_PLAIN
    return None, ""


def _called_blank(count: int, labels: ClassNames) -> list[int]:
    return [i for i in range(count) if _CALLED_BLANK.fullmatch(labels.name(i) or "")]


def _given_blank(given: str | int, count: int) -> int:
    named = dict(zip(BLANKS, (0, count - 1), strict=True))
    text = str(given).strip()
    index = named.get(text, int(text) if text.isdecimal() else count)
    if not 0 <= index < count:
        raise PreprocessError(
            f"The blank is given as {given!r}: it is first, last, or the index of one of the "
            f"{count} classes, 0 to {count - 1}."
        )
    return index


def _names(count: int, labels: ClassNames | None, blank: int | None) -> Mapping[int, str]:
    """The characters by class; empty if it is not known which class each belongs to."""
    if labels is None:
        return {}
    listed = [labels.name(i) for i in range(labels.last + 1)]
    missing = count - len(listed)
    if missing and labels.in_order:
        listed = _with_others(listed, count, labels, blank)
    elif missing < 0:
        raise _misfit(labels, count)
    return {i: name for i, name in enumerate(listed) if name is not None and i != blank}


def _with_others(
    listed: list[str | None], count: int, labels: ClassNames, blank: int | None
) -> list[str | None]:
    """A list without the blank in the order of the classes; empty if the blank is not known.

    PaddleOCR's dictionaries hold neither the blank, the first class, nor the space, the last one.
    """
    missing = count - len(listed)
    if missing not in (1, 2) or (missing == 2 and blank not in (0, None)):
        raise _misfit(labels, count)
    if blank is None:
        return []
    whole = [*listed, " "] if missing == 2 else listed
    return [*whole[:blank], None, *whole[blank:]]


def _misfit(labels: ClassNames, count: int) -> PreprocessError:
    return PreprocessError(
        f"The labels ({labels.origin}) go up to {labels.last}, and the recognizer has {count} "
        "classes: give one character a line in the order of the classes, with or without the blank "
        "(and without the space after the last one, as in PaddleOCR's dictionaries)."
    )
