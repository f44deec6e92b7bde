"""Why a request is not answered: a status and one sentence."""

from __future__ import annotations

from typing import Any

from onnxplain.errors import OnnxplainError, OutputError, ProviderError
from onnxplain.runtime.session import OutOfMemoryError

_INSIDE = (OutOfMemoryError, OutputError, ProviderError)
"""Errors that no other request would avoid."""


class RefusedError(Exception):
    """A request that is answered with an error; `retry_after` are seconds to wait before another.

    The message is one sentence that says what is wrong and what to do.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after


def bad(sentence: str) -> RefusedError:
    """The refusal of a request that its sender can correct."""
    return RefusedError(400, sentence)


def busy(sentence: str) -> RefusedError:
    """The refusal of a request that may be sent again, as it is, a second later."""
    return RefusedError(503, sentence, retry_after=1)


def as_refusal(error: OnnxplainError, of: str = "") -> RefusedError:
    """The refusal for an error of the library; its sentence begins with `of`."""
    return RefusedError(500 if isinstance(error, _INSIDE) else 400, f"{of}{error}")


_SHOWN = 60


def shown(value: Any) -> str:
    """A value of a request in a sentence; a long one is cut."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
