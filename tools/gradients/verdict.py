"""The possible results of a case, and tables of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PASS = "pass"
BESIDE = "pass, beside a kink"
FIXED = "pass, with inputs that are no floats or have no gradient as constants"
ELSEWHERE = "pass, by onnx's reference: ONNX Runtime refuses the model itself"
ZERO = "zero: no float input has a gradient, and none is found"
KINK = "a kink or a step, also nearby"
NAN = "the model itself computes infinities or NaN inside, as with a row that is all masked"
CONVENTION = "not the gradient by convention"
RANDOM = "draws at random: two runs differ"
COARSE = "float16, too coarse for differences, and the reference has another answer"
TYPE = "no float input, or no float output, that has elements"
SEQUENCE = "sequences or optional values"
REFUSED = "refused by ONNX Runtime and by onnx's reference"
NO_RULE = "no gradient"
WRONG = "WRONG"
PASSED = (PASS, BESIDE, FIXED, ELSEWHERE)


@dataclass(frozen=True)
class Verdict:
    """The result of one case."""

    name: str
    operator: str
    kind: str
    detail: str = ""


def summary(found: Sequence[Verdict]) -> str:
    """Markdown: the number of results of each kind, then by operator."""
    kinds = sorted({v.kind for v in found})
    operators = sorted({v.operator for v in found})
    lines = ["| outcome | cases |", "| --- | ---: |"]
    lines += [f"| {kind} | {sum(v.kind == kind for v in found)} |" for kind in kinds]
    lines += ["", "| operator | cases | passed | others |", "| --- | ---: | ---: | --- |"]
    for operator in operators:
        mine = [v for v in found if v.operator == operator]
        passed = sum(v.kind in PASSED for v in mine)
        others = [f"{k} {n}" for k in kinds if (n := sum(v.kind == k for v in mine))]
        rest = "; ".join(o for o in others if not o.startswith(PASS))
        lines.append(f"| {operator} | {len(mine)} | {passed} | {rest} |")
    return "\n".join(lines)


def listing(found: Sequence[Verdict]) -> str:
    """One line per case, tab-separated."""
    return "".join(f"{v.name}\t{v.operator}\t{v.kind}\t{v.detail}\n" for v in found)
