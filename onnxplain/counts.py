"""Numbers of things in sentences."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number and its noun, as in "1 class" and "2 classes"; `many` is `one` and "s" if not given.

    Numbers of thousands have commas.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
