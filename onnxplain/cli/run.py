"""`onnxplain run`: explain pictures and save the results."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console, print_error
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import method_options, open_model
from onnxplain.cli.notes import (
    note_choice,
    note_details,
    note_guess,
    note_model,
    note_warnings,
    noting_cost,
    print_picture_error,
)
from onnxplain.cli.pictures import find_images, gray
from onnxplain.jobs.inputs import each_sample, model_as_input
from onnxplain.jobs.job import Job, Outcome, Saving
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.results.explanation import Explanation
from onnxplain.results.formats.manifest import content, plain, source
from onnxplain.results.formats.stem import file_stem
from onnxplain.runtime.batching import silent


def command(
    *,
    model: parameters.ModelPath,
    images: parameters.MaybeImages = None,
    method: parameters.MethodName = "auto",
    target: parameters.Targets = None,
    out: parameters.Out = parameters.DEFAULT_OUT,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="NAMES",
            help="npy, heatmap, png, json, tiff, png16, yml: any of them between commas.",
        ),
    ] = "npy,heatmap,png,json",
    colormap: parameters.Colormap = "inferno",
    recursive: parameters.Recursive = False,
    batch_size: parameters.BatchSize = None,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    verbose: parameters.Verbose = False,
    loading: Given,
    preprocess: Given,
    arrays: Given,
    options: Given,
) -> int:
    """Explain every picture and return the exit status.

    A picture that cannot be read or explained is reported, and the others go on; so is a target
    whose map shows nothing.
    """
    console = Console(quiet=quiet, as_json=as_json, verbose=verbose)
    saving = Saving(out, [name.strip() for name in formats.split(",")], colormap)
    # What can be checked without the model is checked before it is loaded.
    makes_picture = method != AUTO and make_method(method, options).makes_picture
    starts_from_none = makes_picture and not images
    saving.check()
    inputs = [model_as_input(model)] if starts_from_none else find_images(images or [], recursive)
    explainer = open_model(model, loading | {"batch_size": batch_size}, preprocess, arrays)
    inputs = inputs if starts_from_none else each_sample(inputs, explainer)
    note_guess(explainer.origin, model, console)
    note_model(explainer, console)
    named = explainer.default_method()[0] if method == AUTO else method
    own = method_options(options, explainer)
    start = gray(explainer) if starts_from_none else None
    job = Job(explainer, named, target or parameters.TOP, saving, own, start)
    began, several = time.perf_counter(), len(inputs) > 1
    with console.progress("pictures" if several else inputs[0].title) as report:
        of_one = silent if several else report
        explainer.on_progress(noting_cost(named, of_one, console))
        status, ways = 0, dict[str, None]()
        for done, outcome in enumerate(job.run(inputs), start=1):
            status = _report(outcome, console) or status
            ways |= dict.fromkeys(_way(explanation) for explanation, _ in outcome.saved)
            if several:
                report(done, len(inputs))
    each = (time.perf_counter() - began) / len(inputs)
    if ways:
        note_choice(method, explainer, console)
    for way in ways:
        console.note(f"Ran on {way}, {each:.2g} s for each picture.")
    return status


def _report(outcome: Outcome, console: Console) -> int:
    """Report a picture that is done, and return its exit status."""
    status = 0
    for explanation, files in outcome.saved:
        line = _as_json if console.as_json else _as_line
        console.result(line(explanation, files, outcome.image.name))
        note_warnings(explanation, console)
        note_details(explanation, console)
    for nothing in outcome.empty:
        print_error(f"{outcome.image.source}: {nothing}")
        status = nothing.exit_status
    if outcome.error is not None:
        print_picture_error(outcome.error, outcome.image)
        status = outcome.error.exit_status
    return status


def _way(explanation: Explanation) -> str:
    """The provider that really ran, and how it took several samples."""
    provenance = explanation.provenance
    return ", ".join(filter(None, [provenance.provider, provenance.batching]))


def _as_line(explanation: Explanation, files: Sequence[Path], name: str) -> str:
    """The picture, what was explained, and its files."""
    target = explanation.target
    named = target.name if target.index is None else f"{target.index} {target.label or ''}".strip()
    if target.region is not None:
        named += f" @ {target.region.where}, {target.region.pixels} pixels"
    facts = [
        f"{explanation.source}: {named}",
        explanation.scored,
        explanation.looked_at if explanation.layers else "",
    ]
    saved = _braced(files, file_stem(explanation, name))
    return f"{', '.join(filter(None, facts))} -> {saved}"


def _braced(files: Sequence[Path], stem: str) -> str:
    """Paths that differ in their endings only, as a shell takes them."""
    if len(files) == 1:
        return str(files[0])
    endings = ",".join(path.name.removeprefix(stem) for path in files)
    return str(files[0].with_name(f"{stem}{{{endings}}}"))


def _as_json(explanation: Explanation, files: Sequence[Path], name: str) -> str:
    """One line of JSON; names and nesting are those of the manifest, of which it is a part."""
    manifest = plain(content(explanation, {}))
    kept = "method", "layers", "target", "score", "provider", "batching"
    given = {name: plain(facts["path"]) for name, facts in source(explanation).items()}
    facts = {**given, **{key: manifest[key] for key in kept}}
    return json.dumps(facts | {"files": [str(path) for path in files]})
