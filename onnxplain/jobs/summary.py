"""What is said at the end of a job: how many inputs, why some failed, and where the time went."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnxplain.counts import counted
from onnxplain.jobs.job import Outcome

_REASONS = 5
_LONGEST = 120


@dataclass
class Summary:
    """Counts the outcomes of a run from the moment at which it is made."""

    began: float = field(default_factory=time.perf_counter)
    explained: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count the outcome of an input; it failed if any of its targets did."""
        errors = list(outcome.empty) if outcome.error is None else [outcome.error]
        self.explained += not errors
        self.failed += bool(errors)
        self.reasons.update({_without(str(error), outcome) for error in errors})

    def sentences(self, skipped: int, work: Mapping[str, float]) -> list[str]:
        """The summary; `skipped` inputs were done before, and `work` has seconds by their kind."""
        seconds = time.perf_counter() - self.began
        done = self.explained + self.failed
        facts = [f"{self.explained:,} explained", f"{self.failed:,} failed", f"{skipped:,} skipped"]
        rate = f", {done / seconds:.3g} inputs/s" if done else ""
        said = [f"Done: {', '.join(facts)}{rate}."]
        said += [f"Failed: {n:,} × {why}" for why, n in self.reasons.most_common(_REASONS)]
        if len(self.reasons) > _REASONS:
            rest = len(self.reasons) - _REASONS
            said.append(f"Failed for {counted(rest, 'other reason')}: the index has all of them.")
        total = sum(work.values())
        if total:
            shares = ", ".join(f"{name} {share / total:.0%}" for name, share in work.items())
            said.append(f"Work: {shares}, on all threads together.")
        return said


def _without(sentence: str, outcome: Outcome) -> str:
    """A sentence about an input without its name, so that equal reasons are counted together."""
    names: Sequence[str] = (outcome.image.source, outcome.image.address, str(outcome.image.path))
    for name in names:
        sentence = sentence.replace(name, "...")
    return sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]}..."
