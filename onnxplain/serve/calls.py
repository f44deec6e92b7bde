"""What a protocol makes of a request: the work that it needs, and the answer from the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.serve.engine import Engine, Outcome, Work
from onnxplain.serve.refusals import as_refusal, bad, shown
from onnxplain.serve.settings import Settings

Answer = Mapping[str, Any]
"""Written by `json_text.write`."""


@dataclass(frozen=True, eq=False)
class Call:
    """The work of a request, and how its answer is made from the outcomes, in the same order.

    `answer` may raise RefusedError.
    """

    works: Sequence[Work]
    answer: Callable[[Sequence[Outcome]], Answer]


Reader = Callable[[Any, Engine, Settings], Call]
"""Reads the content of a request; raises RefusedError where it cannot be read."""


def as_object(content: Any, known: Sequence[str], what: str = "The body") -> Mapping[str, Any]:
    """A JSON object that has no other names than the known ones.

    Raises:
        RefusedError: it is no object, or has another name.
    """
    if not isinstance(content, dict):
        raise bad(f"{what} is no JSON object with {', '.join(known)}.")
    for name in content:
        if name not in known:
            raise bad(f"{what} has {shown(name)}, and only {', '.join(known)} are known.")
    return content


def require_count(count: int, settings: Settings) -> None:
    """Raise RefusedError unless a request has at least one instance, and not too many."""
    if not 0 < count <= settings.queue:
        raise bad(
            f"The request has {count} instances: send 1 to {settings.queue} (--queue) at a time."
        )


def known(outcome: Outcome, of: str = "") -> Any:
    """An outcome that is no error.

    Raises:
        RefusedError: it is an error; the sentence begins with `of`.
    """
    if isinstance(outcome, OnnxplainError):
        raise as_refusal(outcome, of)
    return outcome
