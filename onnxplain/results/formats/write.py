"""Writing all files completely, or none."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

from onnxplain.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "a file would be larger than the system allows; choose fewer formats",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "you may not write there; choose another folder",
    errno.EPERM: "you may not write there; choose another folder",
    errno.EEXIST: "it is a file, not a folder; choose another name",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another folder",
    errno.ENAMETOOLONG: "the path is too long; choose a shorter one",
}


def write_files(
    folder: Path, files: Mapping[str, bytes], unfinished: Path | None = None
) -> list[Path]:
    """Write files by name into a folder, which is created if missing; return their paths.

    Every file is first written under a temporary name in the folder `unfinished`, which exists and
    is on the same disk; by default in the same folder. When all of them are written, they are
    renamed, in the order given; meanwhile no other process renames files there. An error or an
    interrupt before that leaves no new file and no changed file.

    Raises:
        OutputError: the system refused to write.
    """
    before = folder if unfinished is None else unfinished
    staged = {folder / name: before / f".onnxplain-{secrets.token_hex(8)}.tmp" for name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for aside, data in zip(staged.values(), files.values(), strict=True):
            # No fsync: it would take longer than most explanations, which can be computed again.
            aside.write_bytes(data)
        with _locked(folder):
            for final, aside in staged.items():
                aside.replace(final)
    except OSError as error:
        raise refused(folder, error) from error
    finally:
        for aside in staged.values():
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
    return list(staged)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for the folder's lock and hold it; without effect on systems that have no such lock."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock a file, unless another process has locked it; true on systems without such locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return True
    return True


class SameFolder:
    """Notices that a folder was removed or replaced while files were written to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: os.stat_result | None = None

    def check(self) -> None:
        """Compare the folder with that of the first call at which there was one.

        Raises:
            OutputError: it is missing, or it is another folder of the same name.
        """
        try:
            now = self._folder.stat()
        except FileNotFoundError:
            now = None
        if self._first is None and now is not None:
            self._first = now
            self._keep()
        if self._first and not (now and os.path.samestat(now, self._first)):
            raise OutputError(
                f"The folder {self._folder} was removed while results were written to it: some of "
                "those that were reported are lost, so run it again."
            )

    def _keep(self) -> None:
        """Keep the folder open, so that a new folder of its name does not get its number."""
        with contextlib.suppress(OSError):  # Windows opens no folders
            weakref.finalize(self, os.close, os.open(self._folder, os.O_RDONLY))


def check_folder(folder: Path) -> None:
    """Check early, without changing anything, that files can be written to a folder.

    Raises:
        OutputError: the folder is a file or is write-protected. If it does not exist, the same for
            the nearest path above it that exists.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise refused(folder, OSError(errno.EEXIST if existing == folder else errno.ENOTDIR, ""))
    if not os.access(existing, os.W_OK):
        raise refused(folder, OSError(errno.EACCES, ""))


def refused(folder: Path, error: OSError) -> OutputError:
    """What to say where the system refused to write to a folder."""
    reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
    return OutputError(f"Could not write to {folder}: {reason}.")
