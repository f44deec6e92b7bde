"""Unique names of files."""

from __future__ import annotations

from collections.abc import Iterable

from onnxplain.file_names import LONGEST, safe_name


def unique_names(names: Iterable[str]) -> list[str]:
    """Make names safe for files, and all different: the second "cat" becomes "cat-2".

    Names that differ only in case count as the same, because some file systems treat them so. The
    result depends only on the names and their order.
    """
    taken = UniqueNames()
    return [taken.claim(name) for name in names]


class UniqueNames:
    """The names that were claimed so far."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, name: str) -> str:
        """The name, made safe for files, with a number if it was claimed before."""
        candidate, number = safe_name(name), 1
        while candidate.casefold() in self._taken:
            number += 1
            # The name is cut, not the number, which would make it equal to another.
            ending = f"-{number}"
            candidate = safe_name(name, LONGEST - len(ending)) + ending
        self._taken.add(candidate.casefold())
        return candidate
