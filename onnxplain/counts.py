"""Numbers of things in sentences."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """A number and its noun, as in "1 class"; `many` is by default `one` with an "s"."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
