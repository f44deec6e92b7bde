"""Names of files: readable, safe on every operating system, and never the same twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxplain.file_names import safe_name
from onnxplain.targets.described import LONGEST_TARGET

if TYPE_CHECKING:
    from onnxplain.results.explanation import Explanation

# Together with the dots and the longest ending they stay below the usual limit of 255 bytes.
_METHOD_BYTES = 40


def file_stem(explanation: Explanation, picture_name: str | None = None) -> str:
    """Return `<picture>.<method>.<target>`, what the names of all its files begin with."""
    path = explanation.picture_path
    picture = picture_name or (path.stem if path else "picture")
    return ".".join(
        [
            safe_name(picture),
            safe_name(explanation.method, _METHOD_BYTES),
            safe_name(explanation.target.name, LONGEST_TARGET),
        ]
    )


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
