"""Measure methods on cases, and print what was measured."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import onnxplain
from onnxplain.images.annotations import BoxShape, Coco, Objects, Region
from onnxplain.metrics.evaluation import REFERENCES, Evaluation, Measurable
from onnxplain.metrics.metric import Metric
from onnxplain.metrics.records import Record, RecordFile
from onnxplain.metrics.registry import make_metric
from onnxplain.metrics.summary import Summary, summarized
from onnxplain.results.formats.png_file import encode_png
from tools.evaluation.cases import Case

_METRICS: Mapping[str, Mapping[str, int]] = {
    "deletion": {"steps": 8},
    "insertion": {"steps": 8},
    "pointing_game": {},
    "relevance_mass_accuracy": {},
}
REFERENCE_MAPS = tuple(REFERENCES)


def metrics() -> list[Metric]:
    """The metrics that methods are measured by."""
    return [make_metric(name, options) for name, options in _METRICS.items()]


def records(
    explainer: onnxplain.Explainer,
    cases: Sequence[Case],
    methods: Sequence[str],
    folder: Path,
) -> list[Record]:
    """What is known of every case, each with its own target; `folder` keeps it and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    configured = [explainer.configured(name, {}) for name in methods]
    found: list[Record] = []
    with contextlib.closing(RecordFile(folder / "records.jsonl")) as file:
        for i, case in enumerate(cases):
            path = folder / f"{i}.png"
            path.write_bytes(encode_png(case.pixels))
            regions = [] if case.box is None else [Region("", BoxShape(*case.box))]
            boxes = Coco(Path("boxes"), {PurePath(path.name): Objects(regions)})
            evaluation = Evaluation(
                explainer, configured, metrics(), str(case.target), REFERENCE_MAPS, boxes
            )
            found += evaluation.run([Measurable(path, path.name, path)], file)
    return found


def summary_of(found: Sequence[Record], methods: Sequence[str]) -> Summary:
    """What the records say of these methods."""
    return summarized(found, methods, REFERENCE_MAPS, metrics())


def table(summary: Summary, last: Mapping[str, str] | None = None, heading: str = "") -> str:
    """The summary as Markdown; `last` is one more column with this heading, by method.

    A method without any value is left out.
    """
    names = [metric.name for metric in summary.metrics]
    headings = [*names, "passes", *([] if last is None else [heading])]
    lines = [
        f"| method | {' | '.join(headings)} |",
        f"| --- | {' | '.join(['---:'] * len(headings))} |",
    ]
    best = {metric.name: summary.best(metric) for metric in summary.metrics}
    for name in (*summary.methods, *summary.references):
        cells = [summary.cells[metric].get(name) for metric in names]
        if not any(cells):
            continue
        shown = [
            "–" if cell is None else f"{cell.mean:.2f}{'*' if name in best[metric] else ''}"
            for metric, cell in zip(names, cells, strict=True)
        ]
        cost = summary.costs.get(name)
        shown.append("" if cost is None else f"{cost.passes:.0f}")
        shown += [] if last is None else [last.get(name, "")]
        lines.append(f"| `{name}` | {' | '.join(shown)} |")
    return "\n".join(lines)
