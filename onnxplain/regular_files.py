"""Reading files that others name: never a device, a pipe, or more than a limit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Without waiting: opening a pipe would wait for a writer."""

_STEP = 1 << 24
"""Bytes that are read at once, so that a file that grows is noticed."""


def read_regular(path: Path, most: int | None = None, *, start: int = 0, length: int = -1) -> bytes:
    """The content of a regular file of at most `most` bytes; by default of any size.

    Without `most`, only `length` bytes from `start` on may be asked for; -1 means all.

    Raises:
        OSError: it is no such file, or cannot be read; `strerror` says why.
    """
    descriptor = os.open(path, _FLAGS)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, _IRREGULAR)
        if most is None:
            file.seek(start)
            return file.read(length)
        content = bytearray()
        while len(content) <= most and (part := file.read(_STEP)):
            content += part
    if len(content) > most:
        raise OSError(0, f"it has more than {most:,} bytes")
    return bytes(content)


def require_regular(path: Path) -> None:
    """Check that a file can be opened without waiting, for readers that open it themselves.

    Raises:
        OSError: it is missing, or a device or a pipe.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, _IRREGULAR)


def is_there(path: str | Path) -> bool:
    """Whether a file or a folder has this path; false for what no file can be called."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # the name is too long, or holds a null character
        return False


_IRREGULAR = "it is a device or a pipe, not a regular file"


def is_inside(path: Path, beside: Path) -> bool:
    """Whether `path`, after symbolic links, is in the folder of `beside` or below it.

    If `beside` is a symbolic link, as in a download cache, the folder of its target counts, too.
    """
    return _leads_to(path, beside.absolute().parent, beside.resolve().parent)


def leads_out(path: Path, model: Path) -> bool:
    """Whether a file near a model is a symbolic link to a file outside its own folder.

    If the model is a symbolic link, as in a download cache, the folder of its target is allowed.
    """
    return not _leads_to(path, path.absolute().parent, model.resolve().parent)


def _leads_to(path: Path, *folders: Path) -> bool:
    try:
        return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, ValueError, RuntimeError):  # a loop of links, or what no file can be called
        return False
