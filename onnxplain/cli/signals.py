"""Signals that end a command: it says so, and removes files that are not complete."""

from __future__ import annotations

import signal
from types import FrameType

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""SIGINT, which Ctrl-C sends, is a KeyboardInterrupt already."""


class EndedBySignal(KeyboardInterrupt):
    """A signal other than SIGINT has asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def end_on_signals() -> None:
    """Raise EndedBySignal when such a signal comes; a second one ends the process at once.

    One that is ignored, as SIGHUP is for a command that `nohup` runs, stays so.
    """
    for number in _ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def status_of(error: KeyboardInterrupt) -> int:
    """The exit status of a command that a signal has ended, as a shell gives it."""
    return 128 + (error.number if isinstance(error, EndedBySignal) else signal.SIGINT)


def _end(number: int, frame: FrameType | None) -> None:
    for one in _ENDING:
        signal.signal(one, signal.SIG_DFL)
    raise EndedBySignal(number)
