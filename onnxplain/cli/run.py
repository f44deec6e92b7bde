"""`onnxplain run`: explain pictures and save the results."""

from __future__ import annotations

import time
from collections.abc import Sequence

from onnxplain.cli import parameters
from onnxplain.cli.console import Console, print_error
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import method_options, open_outputs
from onnxplain.cli.notes import (
    Warnings,
    note_blank,
    note_choice,
    note_guess,
    note_model,
    noting_cost,
)
from onnxplain.cli.outcomes import report
from onnxplain.cli.pictures import find_images, gray
from onnxplain.cli.profiling import report_profile
from onnxplain.cli.texts import run_texts
from onnxplain.errors import BuiltGraphError, OnnxplainError
from onnxplain.explainer import Explainer
from onnxplain.jobs.inputs import InputImage, each_sample, model_as_input
from onnxplain.jobs.job import Job, Saving
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.results.explanation import Explanation
from onnxplain.runtime.batching import silent


def command(
    *,
    model: parameters.ModelPath,
    images: parameters.MaybeImages = None,
    method: parameters.MethodName = "auto",
    target: parameters.Targets = None,
    out: parameters.Out = parameters.DEFAULT_OUT,
    formats: parameters.MaybeFormats = None,
    colormap: parameters.Colormap = "inferno",
    recursive: parameters.Recursive = False,
    batch_size: parameters.BatchSize = None,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    verbose: parameters.Verbose = False,
    profile: parameters.Profile = False,
    loading: Given,
    preprocess: Given,
    arrays: Given,
    options: Given,
) -> int:
    """Explain every picture and return the exit status.

    A picture that cannot be read or explained is reported, and the others go on; so is a target
    whose map shows nothing, and an output of several that cannot be explained.
    """
    console = Console(quiet=quiet, as_json=as_json, verbose=verbose)
    loading = loading | {"batch_size": batch_size, "profile": profile}
    if loading.get("text") and not images:
        return run_texts(
            model,
            method,
            target or parameters.TOP,
            out,
            formats,
            console,
            loading,
            preprocess,
            options,
        )
    wanted = parameters.DEFAULT_FORMATS if formats is None else formats
    saving = Saving(out, [name.strip() for name in wanted.split(",")], colormap)
    # What can be checked without the model is checked before it is loaded.
    makes_picture = method != AUTO and make_method(method, options).makes_picture
    starts_from_none = makes_picture and not images
    saving.check()
    inputs = [model_as_input(model)] if starts_from_none else find_images(images or [], recursive)
    status = 0
    outputs = open_outputs(model, loading, preprocess, arrays)
    inputs = inputs if starts_from_none else each_sample(inputs, outputs[0])
    note_guess(outputs[0].origin, model, console)

    def explained(explainer: Explainer, of: str) -> int:
        note_model(explainer, console)
        own = method_options(options, explainer)
        start = gray(explainer) if starts_from_none else None

        def by(named: str) -> int:
            job = Job(explainer, named, target or parameters.TOP, saving, own, start)
            return _run(job, inputs, method, console, of)

        if method != AUTO:
            return by(method)
        try:
            return by(explainer.default_method()[0])
        except BuiltGraphError:
            explainer.without_gradients()
            return by(explainer.default_method()[0])

    if len(outputs) == 1:
        status = explained(outputs[0], "")
        report_profile(outputs[0], out, console)
        return status
    for explainer in outputs:
        of = f"output {explainer.output}: "
        try:
            status = explained(explainer, of) or status
        except OnnxplainError as error:
            print_error(f"{of}{error}")
            status = error.exit_status
    report_profile(outputs[0], out, console)
    return status


def _run(job: Job, inputs: Sequence[InputImage], method: str, console: Console, of: str) -> int:
    """Explain the inputs, report each, and return the exit status.

    `method` is the name that the user gave, and errors begin with `of`.
    """
    warnings = Warnings(console)
    began, several = time.perf_counter(), len(inputs) > 1
    with console.progress("pictures" if several else inputs[0].title) as progress:
        of_one = silent if several else progress
        job.explainer.on_progress(noting_cost(job.method, of_one, console))
        status, arrays, ways = 0, False, dict[str, None]()
        for done, outcome in enumerate(job.run(inputs), start=1):
            status = report(outcome, warnings, console, of) or status
            ways |= dict.fromkeys(_way(explanation) for explanation, _ in outcome.saved)
            arrays |= any(explanation.array for explanation, _ in outcome.saved)
            if several:
                progress(done, len(inputs))
    warnings.note_repeats()
    each = (time.perf_counter() - began) / len(inputs)
    if ways:
        note_choice(method, job.explainer, console)
        note_blank(job.explainer, console)
    kind = "sample" if arrays else "picture"
    for way in ways:
        console.note(f"Ran on {way}, {each:.2g} s for each {kind}.")
    return status


def _way(explanation: Explanation) -> str:
    """The provider that really ran, and how it took several samples."""
    provenance = explanation.provenance
    return ", ".join(filter(None, [provenance.provider, provenance.batching]))
