"""Names that every operating system accepts as part of a file name."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 120
"""Default limit for the length of a name, in bytes of UTF-8."""

_BETWEEN_WORDS = re.compile(r"[\s,]+")
_UNSAFE = frozenset('<>:"/\\|?*')
_RESERVED_ON_WINDOWS = frozenset(
    ["con", "prn", "aux", "nul"]
    + [f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)]
)


def safe_name(name: str, max_bytes: int = LONGEST) -> str:
    """Change a name so that every operating system accepts it as part of a file name.

    Characters that some system refuses, and invisible characters, become "_". So do spaces and
    commas, because shells and lists of files use them as separators, and a leading dot, because
    it would hide the file. The name is cut to `max_bytes` bytes of UTF-8. A name that Windows
    reserves gets a leading "_", and an empty name becomes "_".
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
