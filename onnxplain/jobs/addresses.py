"""Files at addresses such as s3://bucket/photos, which fsspec opens, and files on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from onnxplain.errors import OnnxplainError, OptionError, PictureError
from onnxplain.jobs.extras import needed
from onnxplain.regular_files import require_regular

MOST_BYTES = 1 << 28
"""Of one picture's file from an archive or an address, which others may have made."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether a text is an address with a protocol, such as s3://bucket/cat.jpg."""
    return _ADDRESS.match(text) is not None


def suffix_of(text: str) -> str:
    """The ending of a path or an address, in small letters; both parts of ".tar.gz"."""
    name = PurePosixPath(text.split("?", maxsplit=1)[0]).name.lower()
    endings = re.search(r"(\.tar)?\.\w+$", name)
    return endings[0] if endings else ""


@contextmanager
def opened(text: str) -> Iterator[IO[bytes]]:
    """Open a file by its path or address.

    Raises:
        PictureError: it cannot be opened or read.
        OptionError: a package that it needs is not installed.
    """
    try:
        if is_address(text):
            file, path = _file_system(text)
            with file.open(path, "rb") as stream:
                yield stream
        else:
            require_regular(Path(text))
            with Path(text).open("rb") as stream:
                yield stream
    except (OnnxplainError, GeneratorExit):
        raise
    except FileNotFoundError:
        raise PictureError(f"{text} does not exist.") from None
    except Exception as error:  # each protocol has errors of its own
        raise PictureError(f"{text} cannot be read: {_reason(error)}.") from error


def read_address(text: str) -> bytes:
    """The content of a file, by its path or address.

    Raises:
        PictureError: it cannot be read, or has more than `MOST_BYTES`.
        OptionError: a package that it needs is not installed.
    """
    with opened(text) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise PictureError(f"{text} has more than {MOST_BYTES:,} bytes.")
    return content


def find_addresses(pattern: str, recursive: bool) -> list[tuple[str, str]]:
    """The files that an address means, and the path of each below the address, sorted.

    It is the address of a file, of a folder, whose files are meant, or a pattern (`*`, `?`).

    Raises:
        PictureError: it cannot be listed, or there is nothing.
        OptionError: a package that it needs is not installed.
    """
    files, path = _file_system(pattern)
    try:
        magic = re.search(r"[*?\[]", path)
        if magic and not pattern.startswith("http"):  # where "?" begins a query
            found = files.glob(path)
            root = path[: magic.start()].rpartition("/")[0]
        elif files.isdir(path):
            found = files.find(path, maxdepth=None if recursive else 1)
            root = path
        else:
            return [(pattern, path.rpartition("/")[2])]
        return [
            (str(files.unstrip_protocol(one)), one.removeprefix(root).lstrip("/"))
            for one in sorted(map(str, found))
        ]
    except OnnxplainError:
        raise
    except Exception as error:  # each protocol has errors of its own
        raise PictureError(f"{pattern} cannot be listed: {_reason(error)}.") from error


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path there."""
    core = needed("fsspec.core", f"Reading {address}")
    try:
        files, path = core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise OptionError(f"{address} cannot be opened: {_reason(error)}.") from error
    return files, str(path)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")
