"""Suggestions for names that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str], count: int = 5) -> str:
    """Suggest names, for the end of an error message about a name that is not in `known`.

    ' (did you mean a, b?)' with at most `count` similar names. If no name is similar,
    ' (there is a, b, ...)' with the first `count` names. Empty if `known` is empty.
    """
    names = list(dict.fromkeys(known))
    lowered = {candidate.lower(): candidate for candidate in reversed(names)}
    matches = [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, count, 0.6)]
    matches += [n for n in names if name.lower() in n.lower() and n not in matches]
    if matches:
        return f" (did you mean {', '.join(matches[:count])}?)"
    more = ", ..." if len(names) > count else ""
    return f" (there is {', '.join(names[:count])}{more})" if names else ""
