"""Targets that requests name: as on the command line, but never a file of the server."""

from __future__ import annotations

import re
from typing import Any

from onnxplain.serve.refusals import bad, shown
from onnxplain.targets import TargetSpec
from onnxplain.targets.similarity import SIMILAR

_LONGEST = 200
_LARGEST = 2**31

_NUMBER = r"\s*-?\d+\s*"
_PLACE = re.compile(
    rf"@\s*(?:all|predicted|any|{_NUMBER},{_NUMBER}|box:{','.join([_NUMBER] * 4)})\s*"
    r"(?=$|[,@]|-\s)"
)


def target(given: Any) -> TargetSpec:
    """The target that a request names.

    Raises:
        RefusedError: it is neither a class index nor a text, or it may mean a file.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        if abs(given) > _LARGEST:
            raise bad("The target is no class index: it is too large.")
        return given
    if not isinstance(given, str):
        raise bad('The target is neither a class index nor a text such as "top1" or a label.')
    if len(given) > _LONGEST:
        raise bad(f"The target is longer than {_LONGEST} characters.")
    if SIMILAR in re.sub(r"\s+", "", given.lower()):
        raise bad(
            f"A request cannot name a target with {SIMILAR!r}, which may read a file of the "
            "server: start the server with this --target."
        )
    if given.count("@") != len(_PLACE.findall(given)):
        raise bad(
            "After @ a request names the place all, predicted, X,Y or box:X,Y,WIDTH,HEIGHT, and "
            f"the target is {shown(given)}."
        )
    return given
