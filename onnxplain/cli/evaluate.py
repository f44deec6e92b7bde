"""`onnxplain evaluate`: measure methods by metrics, and say which one to take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console, echo, print_error
from onnxplain.cli.flags import EXPLAINED, Given
from onnxplain.cli.loading import method_options, open_model, options_of_each
from onnxplain.cli.notes import note_guess
from onnxplain.cli.pictures import find_images
from onnxplain.cli.tables import print_table
from onnxplain.counts import counted
from onnxplain.errors import OptionError
from onnxplain.images.annotations import read_annotations
from onnxplain.jobs.inputs import each_sample
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.metrics.evaluation import REFERENCES, Evaluation, Measurable
from onnxplain.metrics.metric import Metric
from onnxplain.metrics.records import Record, RecordFile
from onnxplain.metrics.registry import make_metric, option_from_text
from onnxplain.metrics.summary import Cell, Summary, summarized
from onnxplain.results.formats.png_file import encode_png
from onnxplain.results.formats.write import check_folder, write_files
from onnxplain.results.render.scatter import Panel, Point, scatter

_RECORDS, _SUMMARY, _DRAWING = "evaluation.jsonl", "evaluation.json", "evaluation.png"
_FEW = 6
"""With fewer inputs the sign test tells nothing apart."""


_NO_INPUTS = "Name the inputs to evaluate on: pictures, folders, patterns or .npy files."

_NO_TEXTS = (
    "Metrics change pictures and arrays, and not the tokens of texts: explain texts by several "
    "methods with `onnxplain run --text`, and see which agree."
)


def command(
    *,
    model: parameters.ModelPath,
    images: parameters.MaybeImages = None,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            "-m",
            metavar="NAMES",
            rich_help_panel=EXPLAINED,
            help="Methods between commas; see `onnxplain methods`.",
        ),
    ] = "hirescam,gradcam,occlusion,integrated_gradients",
    metrics: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Metrics between commas: deletion, insertion, road...; see docs/metrics.md.",
        ),
    ] = "deletion,insertion,average_drop",
    metric_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC.NAME=VALUE",
            help="Option of a metric, such as deletion.steps=20; may be repeated.",
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target", "-t", rich_help_panel=EXPLAINED, metavar="CLASS", help="Index, label, top1."
        ),
    ] = "top1",
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where objects are: a COCO .json, or a folder of VOC .xml or masks (.png).",
        ),
    ] = None,
    out: parameters.Out = parameters.DEFAULT_OUT,
    recursive: parameters.Recursive = False,
    batch_size: parameters.BatchSize = None,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    loading: Given,
    preprocess: Given,
    arrays: Given,
    options: Given,
) -> int:
    """Measure, print and draw the table, and return the exit status.

    Values that the records in the folder hold already are not computed again.
    """
    if not images:
        raise OptionError(_NO_TEXTS if loading.get("text") else _NO_INPUTS)
    console = Console(quiet=quiet, as_json=as_json)
    names = _names(methods, "methods", "gradcam,lrp")
    judges = _metrics(_names(metrics, "metrics", "deletion,road"), metric_option or [])
    own = options_of_each(names, options)
    for name, given in own.items():
        if name != AUTO:
            make_method(name, given)
    check_folder(out)
    objects = None if annotations is None else read_annotations(annotations)
    inputs = find_images(images, recursive)
    explainer = open_model(model, loading | {"batch_size": batch_size}, preprocess, arrays)
    if explainer.reads_texts:
        raise OptionError(_NO_TEXTS)
    note_guess(explainer.origin, model, console)
    configured = {
        one.name: one
        for name, given in own.items()
        for one in [explainer.configured(name, method_options(given, explainer))]
    }
    measurable = [
        Measurable(image.path, image.source, image.given)
        for image in each_sample(inputs, explainer)
    ]
    evaluation = Evaluation(
        explainer,
        list(configured.values()),
        judges,
        target,
        annotations=objects,
    )
    file = RecordFile(out / _RECORDS)
    found = _run(evaluation, measurable, file, console)
    file.close()
    summary = summarized(found, list(configured), list(REFERENCES), judges)
    if not any(summary.cells[metric.name].keys() & configured.keys() for metric in judges):
        raise OptionError(next(one.reason for one in found if one.method in configured))
    drawn = None
    if summary.judging:
        (drawn,) = write_files(out, {_DRAWING: encode_png(_plot(summary))})
    facts = summary.facts() | {"refused": _refused(found), "records": str(file.path)}
    write_files(out, {_SUMMARY: json.dumps(facts, indent=1).encode()})
    if console.as_json:
        console.result(json.dumps(facts | {"file": drawn and str(drawn)}))
    else:
        _print(summary, found, console)
        echo(f"-> {', '.join(str(p) for p in (out / _SUMMARY, file.path, drawn) if p)}")
    return OptionError.exit_status if any(_refused(found).values()) else 0


def _names(text: str, what: str, example: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise OptionError(f"Name {what} to use, such as --{what} {example}.")
    return list(dict.fromkeys(names))


def _metrics(names: Sequence[str], given: Sequence[str]) -> list[Metric]:
    """The metrics with their options.

    Raises:
        OptionError: there is no such metric or option, or an option is of a metric not named.
    """
    options: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name in names:
        make_metric(name)
    for text in given:
        place, equals, value = text.partition("=")
        metric, dot, name = place.partition(".")
        if not (equals and dot):
            raise OptionError(f"--metric-option takes METRIC.NAME=VALUE, not {text!r}.")
        if metric not in options:
            raise OptionError(
                f"--metric-option {text} is of {metric!r}, which --metrics does not name."
            )
        name = name.replace("-", "_")
        options[metric][name] = option_from_text(metric, name, value)
    return [make_metric(name, own) for name, own in options.items()]


def _run(
    evaluation: Evaluation, inputs: Sequence[Measurable], file: RecordFile, console: Console
) -> list[Record]:
    """The records of all inputs."""
    total = len(inputs) * len(evaluation.names) * len(evaluation.metrics)
    found: list[Record] = []
    with console.progress("values") as progress:
        progress(0, total)
        for record in evaluation.run(inputs, file):
            found.append(record)
            progress(len(found), total)
    return found


def _refused(found: Sequence[Record]) -> dict[str, dict[str, str]]:
    """By method and metric, the first reason why there was no value, of methods alone."""
    reasons: dict[str, dict[str, str]] = {}
    for one in found:
        if one.value is None and one.method not in REFERENCES:
            reasons.setdefault(one.method, {}).setdefault(one.metric, f"{one.input}: {one.reason}")
    return reasons


def _plot(summary: Summary) -> Any:
    panels = []
    for metric in summary.judging:
        cells, best = summary.cells[metric.name], summary.best(metric)
        points = [
            Point(
                name,
                max(summary.costs[name].passes, 1),
                cells[name].mean,
                cells[name].low,
                cells[name].high,
                name in best,
            )
            for name in summary.methods
            if name in cells
        ]
        lines = [(name, cells[name].mean) for name in summary.references if name in cells]
        panels.append(Panel(f"{metric.name} ({metric.better} is better)", points, lines))
    return scatter(panels, "forward and backward passes for each map")


_SIGNS = {"higher": "↑", "lower": "↓", "neither": ""}


def _print(summary: Summary, found: Sequence[Record], console: Console) -> None:
    headings = [f"{metric.name} {_SIGNS[metric.better]}".strip() for metric in summary.metrics]
    best = {metric.name: summary.best(metric) for metric in summary.metrics}
    rows = []
    for name in (*summary.methods, *summary.references):
        cost = summary.costs.get(name)
        passes = ["", "", ""]
        if cost is not None:
            passes = [f"{cost.forwards:.0f}", f"{cost.backwards:.0f}", f"{cost.seconds:.2g}"]
        cells = [_cell(summary.cells[by].get(name), name in own) for by, own in best.items()]
        rows.append([name, *cells, *passes])
    print_table(["method", *headings, "forwards", "backwards", "seconds"], rows)
    for sentence in verdict(summary):
        echo(sentence)
    for metric in summary.metrics:
        console.note(f"Warning: {metric.name}: {metric.misleads}.")
    for method, reasons in _refused(found).items():
        for refused, reason in reasons.items():
            print_error(f"{method}, {refused}: {reason}")


def _cell(cell: Cell | None, best: bool) -> str:
    if cell is None:
        return "–"
    return f"{cell.mean:.3g} [{cell.low:.3g}, {cell.high:.3g}]{' *' if best else ''}"


def verdict(summary: Summary) -> list[str]:
    """What the table says, in sentences."""
    said = [
        f"Means over {counted(summary.inputs, 'input')}, with 95% bootstrap intervals; * marks "
        "the best by each metric, and all that cannot be told apart from it (paired sign test at "
        "5%, corrected for the number of pairs)."
    ]
    if len(summary.methods) > 1 and summary.inputs < _FEW:
        said.append(
            f"With fewer than {_FEW} inputs the sign test tells no two methods apart: take more."
        )
    for metric in summary.judging:
        first, *others = summary.best(metric)
        same = f"; cannot be told apart from it: {', '.join(others)}" if others else ""
        said.append(f"{metric.name}: {first} has the best mean{same}.")
    for name in summary.references:
        beaten = summary.no_better_than(name)
        if beaten:
            said.append(f"By no metric better than {name}: {', '.join(beaten)}.")
    if summary.recommended is not None:
        said.append(
            f"Recommended: {summary.recommended}, among the best by "
            f"{summary.wins(summary.recommended)} of {len(summary.judging)} metrics, and the "
            "cheapest of those that are so by as many."
        )
    return said
