"""Unique names of files."""

from __future__ import annotations

from collections.abc import Iterable

from onnxplain.file_names import safe_name


def unique_names(names: Iterable[str]) -> list[str]:
    """Make names safe for files, and all different: the second "cat" becomes "cat-2".

    Names that differ only in case count as the same, because some file systems treat them so. The
    result depends only on the names and their order.
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
