"""Which method `auto` should take: `python -m tools.evaluation.default_method --cache FOLDER`.

For each shipped model and each candidate it measures deletion, insertion, the pointing game and
the relevance mass accuracy of `onnxplain.metrics`, and writes a summary to `default_method.json` in
this folder, and tables as Markdown to standard output. docs/methods/pointing.md says what follows
for `auto`, and why it is not always what is recommended.
What was measured already is kept in the folder that --cache names.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import onnxplain
from tools.evaluation.cases import CASES, MODELS
from tools.evaluation.measure import metrics, records, summary_of, table

CANDIDATES = (
    "hirescam",
    "gradcam",
    "layercam",
    "lrp",
    "gradient",
    "occlusion",
)
MOST_PASSES = 3
TABLE = Path(__file__).with_name("default_method.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="keep measurements here")
    cache = parser.parse_args().cache
    facts = {}
    for name, cases_of in CASES.items():
        explainer = onnxplain.Explainer(MODELS / f"{name}.onnx", provider="cpu")
        cases = cases_of(explainer)
        found = records(explainer, cases, CANDIDATES, cache / name)
        summary = summary_of(found, CANDIDATES)
        cheap = [one for one in CANDIDATES if one in summary.costs]
        cheap = [one for one in cheap if summary.costs[one].passes <= MOST_PASSES]
        of_cheap = summary_of(found, cheap)
        facts[name] = {
            "pictures": len(cases),
            "auto": explainer.default_method()[0],
            "recommended": of_cheap.recommended,
            "best": {metric.name: of_cheap.best(metric) for metric in metrics()},
            "recommended_of_all": summary.recommended,
        }
        print(f"\n{name}, {len(cases)} pictures\n\n{table(summary)}", flush=True)
    TABLE.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
