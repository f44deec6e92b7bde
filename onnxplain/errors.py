"""Errors that a user can correct.

Every message is one sentence (or two) that says what is wrong and what to do. The command line
prints it without a traceback and exits with `exit_status`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


class OnnxplainError(Exception):
    """Base of every error that onnxplain raises on purpose."""

    exit_status = 2


class ModelError(OnnxplainError):
    """The model file is missing, damaged or unsafe, or ONNX Runtime cannot run the model."""


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


class MapError(OnnxplainError):
    """A map that would be misleading: its values are not finite, or all the same."""


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
