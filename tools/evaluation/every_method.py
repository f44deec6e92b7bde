"""How good each method is: `python -m tools.evaluation.every_method --cache FOLDER`.

For each model that ships with scenes it measures every method by deletion, insertion, the pointing
game and the relevance mass accuracy, checks on one picture whether the map changes when weights are
shuffled, and writes the tables of docs/methods/every-method.md. A method that a model refuses is
left out of its table. What was measured already is kept in the folder that --cache names. This
takes hours.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxplain
from onnxplain.errors import OnnxplainError
from onnxplain.methods.registry import METHODS
from onnxplain.metrics.sanity import SAME_ABOVE, sanity_check
from onnxplain.metrics.summary import Summary
from tools.docs.tables import replaced
from tools.evaluation.cases import CASES, MODELS, Case
from tools.evaluation.measure import records, summary_of, table

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "every-method.md"
_MODELS = "digit_vit", "digit_detector"
_REFERENCE = "centered_blob"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="keep measurements here")
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=_MODELS)
    given = parser.parse_args()
    for name in given.models:
        text = measured(name, given.cache / name)
        print(f"\n{name}\n\n{text}", flush=True)
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replaced(page, name, text), encoding="utf-8")


def measured(name: str, folder: Path) -> str:
    """The table of one model as Markdown, and what follows from it."""
    explainer = onnxplain.Explainer(MODELS / f"{name}.onnx", provider="cpu")
    cases = CASES[name](explainer)
    methods = [one for one, method in METHODS.items() if not method.makes_picture]
    summary = summary_of(records(explainer, cases, methods, folder), methods)
    found = correlations(explainer, cases[0], list(summary.costs), folder / "sanity.json")
    shown = {one: "–" if value is None else f"{value:.2f}" for one, value in found.items()}
    return f"{table(summary, shown, 'shuffled')}\n\n{len(cases)} pictures.\n" + "".join(
        f"\n{sentence}\n" for sentence in _findings(summary, found)
    )


def correlations(
    explainer: onnxplain.Explainer, case: Case, methods: Sequence[str], kept: Path
) -> dict[str, float | None]:
    """The rank correlation of the map with that of shuffled weights, by method.

    None where there is no map to compare.
    """
    found: dict[str, float | None] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in methods:
        if name not in found:
            found[name] = _correlation(explainer, case, name)
            kept.write_text(json.dumps(found))
    return {name: found[name] for name in methods}


def _correlation(explainer: onnxplain.Explainer, case: Case, method: str) -> float | None:
    try:
        check = sanity_check(explainer, case.pixels, method, case.target, stages=1)
    except OnnxplainError:
        return None
    (shuffled,) = check.stages
    return shuffled.correlation


def _findings(summary: Summary, correlation: Mapping[str, float | None]) -> list[str]:
    """Sentences about the methods that fail."""
    lost = summary.no_better_than(_REFERENCE)
    same = [one for one, value in correlation.items() if value is not None and value > SAME_ABOVE]
    return [
        f"No better than the centered blob by any metric: {_listed(lost)}.",
        f"Nearly the same map with shuffled weights: {_listed(same)}.",
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


if __name__ == "__main__":
    main()
