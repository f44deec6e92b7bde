"""Sentences about names that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str], count: int = 5) -> str:
    """' (did you mean a, b?)' for a name not among `known`; the first few where none is close."""
    names = list(dict.fromkeys(known))
    lowered = {candidate.lower(): candidate for candidate in reversed(names)}
    matches = [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, count, 0.6)]
    matches += [n for n in names if name.lower() in n.lower() and n not in matches]
    if matches:
        return f" (did you mean {', '.join(matches[:count])}?)"
    more = ", ..." if len(names) > count else ""
    return f" (there is {', '.join(names[:count])}{more})" if names else ""
