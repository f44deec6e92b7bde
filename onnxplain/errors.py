"""Errors that a user can correct.

Every message is one sentence (or two) that says what is wrong and what to do. The command line
prints it without a traceback and exits with `exit_status`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from onnxplain.visible import visible

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


LONGEST = 500
"""Most characters of a message: a model's file may hold names of any length."""

_LONGEST_WORDS = 160, 80, 40
"""Longest words of a message that would be too long, tried in this order."""


def in_one_line(message: str) -> str:
    """A message that any terminal can print: one line of at most `LONGEST` characters.

    Unprintable characters are written as escapes. If it is too long, its longest words, and at last
    the message itself, are cut in the middle, so that it still says what is wrong and what to do.
    """
    text = visible(message)
    for longest in _LONGEST_WORDS:
        if len(text) <= LONGEST:
            return text
        long_words = set(re.findall(rf"\S{{{longest + 1},}}", text))
        for word in sorted(long_words, key=len, reverse=True):
            text = text.replace(word, _without_middle(word, longest))
    return _without_middle(text, LONGEST)


def _without_middle(text: str, most: int) -> str:
    """The first and last characters of a text that has more than `most`."""
    if len(text) <= most:
        return text
    kept = most - len(_CUT)
    return f"{text[: kept - kept // 2]}{_CUT}{text[-(kept // 2) :]}"


_CUT = "..."


class OnnxplainError(Exception):
    """Base of every error that onnxplain raises on purpose."""

    exit_status = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(in_one_line(message))


_LIMITS = (
    (
        r"can't start new thread|pthread_create",
        "No more threads may be started on this machine: allow more (`ulimit -u`) or more memory "
        "(`ulimit -v`), or end other programs.",
    ),
    (
        r"failed to allocate|out of memory|bad_alloc|alloc_failed|available memory of|cudamalloc"
        r"|failed to serialize proto|cannot allocate|insufficient memory|failed to map segment",
        "There is not enough memory: try a smaller picture or --batch-size 1, end other programs, "
        "or allow more (`ulimit -v`).",
    ),
)
"""What libraries say where memory or threads are limited, and what to tell a user."""


def limit_reached(error: BaseException) -> str:
    """What to say of an error of a library for which memory or threads are limited, or ""."""
    text = "out of memory" if isinstance(error, MemoryError) else str(error)
    found = (sentence for words, sentence in _LIMITS if re.search(words, text, re.IGNORECASE))
    return next(found, "")


class ModelError(OnnxplainError):
    """The model file is missing, damaged or unsafe, or ONNX Runtime cannot run the model."""


class BuiltGraphError(ModelError):
    """ONNX Runtime refuses a graph that onnxplain built from a model that it runs."""

    exit_status = 1


class LayerError(OnnxplainError):
    """No such layer, or a layer that the method cannot use."""


class GradientError(OnnxplainError):
    """An operator without a gradient, or a gradient that is zero for every input."""


class TargetError(OnnxplainError):
    """No such class, an ambiguous label, or an output element that does not exist."""


class NotInPictureError(TargetError):
    """What is to be explained is not in this picture, such as a class above a threshold."""


class OptionError(OnnxplainError):
    """An unknown method or option, or a value that the option does not take."""


class PictureError(OnnxplainError):
    """A picture that cannot be found, read or used."""


class TextError(OnnxplainError):
    """A text or a tokenizer that cannot be read or used, or a token that does not exist."""


class PreprocessError(OnnxplainError):
    """Preprocessing or labels that are malformed, or do not fit the model's input."""


class ProviderError(OnnxplainError):
    """An execution provider that is not installed or cannot be loaded."""


class ProcessError(OnnxplainError):
    """A process that was made by a fork asks for what only its parent has."""


class MapError(OnnxplainError):
    """A map that would be misleading: its values are not finite, or all the same."""


class ResultsError(OnnxplainError):
    """A folder of results that cannot be read, or that holds those of another job."""


class OutputError(OnnxplainError):
    """A result that could not be written, for example because the disk is full."""

    exit_status = 1


def attempted(
    call: Callable[Arguments, Found], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Found | OnnxplainError:
    """The result of a call, or the OnnxplainError that it raised. Other errors are raised."""
    try:
        return call(*arguments, **named)
    except OnnxplainError as error:
        return error
