"""Which files are opened while a case runs: by Python, and by native code."""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_OPENED = 0x20 | 0x01
"""IN_OPEN and IN_ACCESS of inotify."""

_HARMLESS = ("/dev/null", "/dev/urandom", "/proc", "/sys", "/etc/localtime", "/usr/share/zoneinfo")
"""What Python and the libraries read of the system, whatever they are given."""

_REPOSITORY = Path(__file__).parents[2]


class Watch:
    """Notes the files that are opened outside the allowed folders.

    Python's are seen by an audit hook, which stays as long as the process. Native code is seen by
    inotify where it opens a file in one of the `traps`: folders that no case may read.
    """

    def __init__(self) -> None:
        paths = {*sysconfig.get_paths().values(), sys.base_prefix, sys.prefix, *sys.path}
        code = {os.path.realpath(path) for path in paths if path} | {*paths} - {"", "."}
        self._allowed = (*_HARMLESS, *code, str(_REPOSITORY))
        self._inside: tuple[str, ...] = ()
        self._found: list[str] = []
        self._watching = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self._watching or isinstance(arguments[0], int):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if not _below(path, (*self._allowed, *self._inside)):
            self._found.append(path)

    @contextmanager
    def only(self, *folders: Path, traps: list[Path]) -> Iterator[list[str]]:
        """Within it, what is opened outside of `folders` is added to the list that it yields."""
        self._inside = tuple(os.path.realpath(folder) for folder in folders)
        self._found, native = [], _Inotify(traps)
        self._watching = True
        try:
            yield self._found
        finally:
            self._watching = False
            self._found += native.opened()


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


class _Inotify:
    """Opened files of some folders, by any code of any process; nothing where there is none."""

    def __init__(self, folders: list[Path]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = -1
        if not hasattr(self._libc, "inotify_init1"):
            return
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK)
        for folder in folders:
            self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _OPENED)

    def opened(self) -> list[str]:
        """The names of the files that were opened since; closes the watch."""
        if self._descriptor < 0:
            return []
        try:
            events = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            events = b""
        finally:
            os.close(self._descriptor)
        names, start = set(), 0
        while start < len(events):
            length = int.from_bytes(events[start + 12 : start + 16], sys.byteorder)
            names.add(events[start + 16 : start + 16 + length].rstrip(b"\0").decode())
            start += 16 + length
        # A listed folder has no name, and opens no file.
        return sorted(f"trap/{name}" for name in names if name)


def temporary() -> Path:
    """A new folder for the cases of one process."""
    return Path(tempfile.mkdtemp(prefix="onnxplain-fuzz-"))
