"""A process that makes and tries many cases, and says which one it is at.

It reads lines of JSON from standard input: the folder for the cases, and what to do. It answers
with lines of JSON on the standard output that it was started with.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tools.fuzz.case import Case
from tools.fuzz.configurations import configurations
from tools.fuzz.judge import explained, reason, verdicts
from tools.fuzz.limits import ADDRESSES
from tools.fuzz.maps import map_verdicts
from tools.fuzz.models import models
from tools.fuzz.pictures import pictures
from tools.fuzz.run import lay_out, run_commands
from tools.fuzz.watch import Watch

KINDS: Mapping[str, SearchStrategy[Case]] = {
    "model": models(),
    "picture": pictures(),
    "configuration": configurations(),
}
"""What is tried, by the kind of its cases."""


def try_case(case: Case, folder: Path, watch: Watch) -> dict[str, Any]:
    """Run a case that was laid out, and say what the oracles found."""
    ended = run_commands(case, folder, watch)
    found = [verdict for one in ended for verdict in verdicts(case, one, folder)]
    first = ended[0]
    if case.valid and explained(first):
        found += map_verdicts(case, folder)
    return {
        "what": case.what,
        "valid": case.valid,
        "explained": explained(first),
        "reason": "" if explained(first) else reason(first),
        "seconds": max(one.seconds for one in ended),
        "checked": [verdict.oracle for verdict in found],
        "findings": [list(verdict) for verdict in found if verdict.finding],
    }


def _chunk(
    kind: str, number: int, count: int, skip: int, folder: Path, keep: Path, watch: Watch
) -> None:
    """Try `count` cases that depend only on `number`, of which the first `skip` are left out.

    Those with findings are kept in the folder `keep`.
    """
    at = 0

    def each(case: Case) -> None:
        nonlocal at
        at += 1
        if at <= skip:
            return
        lay_out(case, folder)
        _tell({"begins": at})
        outcome = try_case(case, folder, watch)
        if outcome["findings"]:
            outcome["kept"] = str(keep / f"{at:02}")
            case.write(keep / f"{at:02}")
        _tell({"ended": at, **outcome})

    each_case(kind, number, count, each)


def each_case(kind: str, number: int, count: int, call: Callable[[Case], None]) -> None:
    """Call a function with `count` cases that depend only on `number`, in order."""
    configured = settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(configured(given(KINDS[kind])(call)))()


def _tell(facts: Mapping[str, Any]) -> None:
    os.write(_ANSWERS, json.dumps(facts).encode() + b"\n")


_ANSWERS = os.dup(1)


def main() -> None:
    """Do what standard input says, until it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    random.seed(0)
    watch = Watch()
    for line in sys.stdin:
        asked = json.loads(line)
        folder = Path(asked["folder"])
        if "replay" in asked:
            case = Case.read(Path(asked["replay"]))
            lay_out(case, folder)
            _tell({"begins": 1})
            _tell({"ended": 1, **try_case(case, folder, watch)})
        else:
            numbers = asked["number"], asked["count"], asked["skip"]
            _chunk(asked["kind"], *numbers, folder, Path(asked["keep"]), watch)
        _tell({"finished": True})


if __name__ == "__main__":
    main()
