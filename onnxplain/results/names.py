"""Names of files: readable, safe on every operating system, and never the same twice."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Iterable

_UNSAFE = frozenset('<>:"/\\|?*')
_RESERVED_ON_WINDOWS = frozenset(
    ["con", "prn", "aux", "nul"]
    + [f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)]
)
# Together with the dots and the longest ending they stay below the usual limit of 255 bytes.
PICTURE_BYTES = 120
METHOD_BYTES = 40
TARGET_BYTES = 60
_LABEL_BYTES = 16  # of a class whose name a region follows


def target_name(index: int, label: str | None) -> str:
    """Return a class's short name, such as "282_tiger_cat".

    Of a label that lists synonyms ("tabby, tabby cat") only the first is used.
    """
    first = (label or "").split(",")[0]
    words = "".join(c if c.isalnum() or c in "-+" else " " for c in first).split()
    return "_".join([str(index), *words])


def region_name(index: int, label: str | None, where: str) -> str:
    """Return a region's short name, such as "15_person@box_10,20,64,48".

    A name that must be changed to be one of a file, as that of a mask in a folder, ends in a
    checksum of what it was: two masks of one name in two folders stay apart.
    """
    short = target_name(index, label and safe_name(label, _LABEL_BYTES))
    name = f"{short}@{where}".replace(":", "_")
    if safe_name(name, TARGET_BYTES) == name:
        return name
    checksum = f"~{zlib.crc32(where.encode(errors='surrogateescape')):08x}"
    return safe_name(name, TARGET_BYTES - len(checksum)) + checksum


def safe_name(name: str, max_bytes: int = PICTURE_BYTES) -> str:
    """Make a name one that every operating system takes as part of a file name.

    Characters that some system refuses, or that nobody can see, become "_"; so does a leading dot,
    which would hide the file. The name is cut to `max_bytes` bytes of UTF-8.
    """
    composed = unicodedata.normalize("NFC", name)
    safe = "".join("_" if _is_unsafe(c) else c for c in composed)
    safe = safe.encode()[:max_bytes].decode(errors="ignore").strip()
    if safe.startswith("."):
        safe = "_" + safe[1:]
    if safe.split(".")[0].lower() in _RESERVED_ON_WINDOWS:
        safe = "_" + safe
    return safe or "_"


def _is_unsafe(character: str) -> bool:
    # The categories C*: control and format characters, lone surrogates, unassigned.
    return character in _UNSAFE or unicodedata.category(character).startswith("C")


def unique_names(names: Iterable[str]) -> list[str]:
    """Make safe names of names, all different: the second "cat" becomes "cat-2".

    Names that differ only in case count as the same, because some file systems think so. The
    answer depends on nothing but the names and their order.
    """
    taken: set[str] = set()
    return [_claim(safe_name(name), taken) for name in names]


def _claim(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add(candidate.casefold())
    return candidate
