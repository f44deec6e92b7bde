"""Counts of what was tried, and what was found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tools.fuzz.driver import ITSELF, Finished

_REASONS = 12
"""Most frequent reasons that are listed for each kind."""


def findings(chunks: Sequence[Finished]) -> list[dict[str, Any]]:
    """The outcomes with findings."""
    return [outcome for chunk in chunks for outcome in chunk.outcomes if outcome["findings"]]


def lines(chunks: Sequence[Finished]) -> Iterator[str]:
    """The report, in Markdown."""
    yield from _kinds(chunks)
    yield ""
    yield from _oracles(chunks)
    yield ""
    yield from _refusals(chunks)
    yield ""
    yield from _found(findings(chunks))


def _of_kind(chunks: Sequence[Finished]) -> dict[str, list[dict[str, Any]]]:
    kinds = {chunk.kind: list[dict[str, Any]]() for chunk in chunks}
    for chunk in chunks:
        kinds[chunk.kind] += chunk.outcomes
    return {
        "valid models": [one for one in kinds.get("model", []) if one["valid"]],
        "damaged models": [one for one in kinds.get("model", []) if not one["valid"]],
        "pictures and arrays": kinds.get("picture", []),
        "configurations": kinds.get("configuration", []),
    }


def _kinds(chunks: Sequence[Finished]) -> Iterator[str]:
    yield "| kind | tried | explained | refused | ends ONNX Runtime itself | with a finding |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for kind, outcomes in _of_kind(chunks).items():
        explained = sum(one["explained"] for one in outcomes)
        itself = sum(one["reason"] == ITSELF for one in outcomes)
        found = sum(bool(one["findings"]) for one in outcomes)
        refused = len(outcomes) - explained - itself
        yield f"| {kind} | {len(outcomes):,} | {explained:,} | {refused:,} | {itself} | {found} |"


def _oracles(chunks: Sequence[Finished]) -> Iterator[str]:
    checked, found = Counter[str](), Counter[str]()
    for chunk in chunks:
        for one in chunk.outcomes:
            checked.update(one["checked"])
            found.update(oracle for oracle, _ in one["findings"])
    yield "| oracle | checks | findings |"
    yield "| --- | --- | --- |"
    for oracle, count in checked.most_common():
        yield f"| {oracle} | {count:,} | {found[oracle]} |"


def _refusals(chunks: Sequence[Finished]) -> Iterator[str]:
    for kind, outcomes in _of_kind(chunks).items():
        reasons = Counter(one["reason"] for one in outcomes if one["reason"])
        if reasons:
            yield f"Most frequent refusals of {kind}, of {len(reasons)}:"
            yield ""
        for reason, count in reasons.most_common(_REASONS):
            yield f"    {count:5} {reason}"
        yield ""


def _found(outcomes: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One of each group of findings that are alike, and how to see it again."""
    groups: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for outcome in outcomes:
        for oracle, finding in outcome["findings"]:
            alike = re.sub(r"\d+|'[^']*'", "_", finding)[:80]
            groups.setdefault(f"{oracle}: {alike}", []).append((outcome, f"{oracle}: {finding}"))
    yield f"{len(outcomes)} cases with findings, {len(groups)} kinds of them."
    for found in sorted(groups.values(), key=len, reverse=True):
        outcome, words = found[0]
        yield ""
        yield f"{len(found)} x {words}"
        yield f"    {outcome['what'][:300]}"
        yield f"    python -m tools.fuzz --replay {outcome['kept']}"
