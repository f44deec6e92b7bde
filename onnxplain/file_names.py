"""Names that every operating system takes as part of a file name."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 120
"""Bytes of UTF-8 of a name, unless less is asked for."""

_BETWEEN_WORDS = re.compile(r"[\s,]+")
_UNSAFE = frozenset('<>:"/\\|?*')
_RESERVED_ON_WINDOWS = frozenset(
    ["con", "prn", "aux", "nul"]
    + [f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)]
)


def safe_name(name: str, max_bytes: int = LONGEST) -> str:
    """Make a name one that every operating system takes as part of a file name.

    Characters that some system refuses, or that nobody can see, become "_"; so do spaces and
    commas, which shells and lists of files separate names by, and a leading dot, which would hide
    the file. The name is cut to `max_bytes` bytes of UTF-8.
    """
    composed = unicodedata.normalize("NFC", name)
    safe = "".join("_" if _is_unsafe(c) else c for c in composed.strip())
    safe = _BETWEEN_WORDS.sub("_", safe).encode()[:max_bytes].decode(errors="ignore")
    if safe.startswith("."):
        safe = "_" + safe[1:]
    if safe.split(".")[0].lower() in _RESERVED_ON_WINDOWS:
        safe = "_" + safe
    return safe or "_"


def _is_unsafe(character: str) -> bool:
    # The categories C*: control and format characters, lone surrogates, unassigned.
    return character in _UNSAFE or unicodedata.category(character).startswith("C")
