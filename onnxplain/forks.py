"""What a process that was made by a fork may not use of its parent.

A fork copies the memory, but of the threads only the one that forks. What waits for another thread,
or for a lock that another thread holds, waits for ever.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from onnxplain.errors import ProcessError

Owner = TypeVar("Owner")
Made = TypeVar("Made")

_PACKAGE = str(Path(__file__).parent) + os.sep

SPAWN = "start processes with multiprocessing.get_context('spawn')"
"""What works where a fork does not: an Explainer can be pickled."""


class per_process(Generic[Owner, Made]):  # noqa: N801
    """As `functools.cached_property`, but a process that was forked makes a value of its own."""

    def __init__(self, make: Callable[[Owner], Made]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __get__(self, owner: Owner, kind: type[Owner]) -> Made:
        """The value of this process."""
        kept, key = vars(owner), f"{self._make.__name__} of {os.getpid()}"
        found: Made = kept[key] if key in kept else kept.setdefault(key, self._make(owner))
        return found


def check_process() -> None:
    """Check that nothing here can wait for a thread of the process that was forked.

    Raises:
        ProcessError: another thread was using onnxplain at that moment.
    """
    if _moment.in_use:
        raise ProcessError(
            "This process was forked while another thread was using onnxplain, and could wait for "
            f"that thread for ever: {SPAWN}, or fork when no other thread uses onnxplain."
        )


class _Moment:
    """Whether another thread was using onnxplain when this process was forked."""

    def __init__(self) -> None:
        self.in_use = False
        self._others = False

    def before(self) -> None:
        """Look at what the other threads do: a forked process no longer knows them."""
        own = threading.get_ident()
        frames = (frame for thread, frame in sys._current_frames().items() if thread != own)
        self._others = any(map(_is_in_package, frames))

    def in_child(self) -> None:
        """Keep what was seen."""
        self.in_use |= self._others


def _is_in_package(frame: Any) -> bool:
    """Whether a function of this package runs in a frame, or has called it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_PACKAGE):
            return True
        frame = frame.f_back
    return False


_moment = _Moment()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_moment.before, after_in_child=_moment.in_child)
