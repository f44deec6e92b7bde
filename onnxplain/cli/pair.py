"""`onnxplain pair`: what makes two pictures similar, in each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import method_options, open_model
from onnxplain.cli.notes import Warnings, note_choice, note_guess, noting_cost
from onnxplain.cli.outcomes import report
from onnxplain.cli.pictures import find_images
from onnxplain.errors import OptionError
from onnxplain.jobs.job import Job, Outcome, Saving
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.results.comparison import draw_side_by_side
from onnxplain.results.explanation import Explanation
from onnxplain.targets.similarity import SIMILAR


def command(
    *,
    model: parameters.ModelPath,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The picture to compare it with.")],
    method: parameters.MethodName = AUTO,
    out: parameters.Out = parameters.DEFAULT_OUT,
    formats: parameters.Formats = parameters.DEFAULT_FORMATS,
    colormap: parameters.Colormap = "inferno",
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    loading: Given,
    preprocess: Given,
    options: Given,
) -> int:
    """Explain each picture for its similarity to the other, and draw both; return the exit status.

    A picture that cannot be explained is reported, and the other one goes on.
    """
    console = Console(quiet=quiet, as_json=as_json)
    if method != AUTO:
        make_method(method, options)
    saving = Saving(out, [name.strip() for name in formats.split(",")], colormap)
    saving.check()
    inputs = find_images([image, other])
    if len(inputs) == 1:
        raise OptionError(f"A pair is two different pictures, and both are {inputs[0].path}.")
    if len(inputs) != 2:
        raise OptionError(f"A pair is two different pictures, and this is {len(inputs)}.")
    explainer = open_model(model, loading, preprocess)
    note_guess(explainer.origin, model, console)
    named = explainer.default_method()[0] if method == AUTO else method
    own = method_options(options, explainer)

    def outcomes() -> Iterator[Outcome]:
        for one, reference in (inputs, inputs[::-1]):
            job = Job(explainer, named, [f"{SIMILAR}{reference.path}"], saving, own)
            with console.progress(one.title) as progress:
                explainer.on_progress(noting_cost(named, progress, console))
                yield from job.run([one])

    found = list(outcomes())
    warnings = Warnings(console)
    status = max(report(outcome, warnings, console) for outcome in found)
    warnings.note_repeats()
    saved = [explanation for outcome in found for explanation, _ in outcome.saved]
    explanations = [one for one in saved if isinstance(one, Explanation)]
    if explanations:
        note_choice(method, explainer, console)
    if len(explanations) == 2:
        both = replace(inputs[0], name=".".join(image.name for image in inputs))
        drawn = draw_side_by_side(explanations, colormap)
        file = saving.save_drawing(drawn, both, "pair", named, explainer.output)
        console.result(json.dumps({"file": str(file)}) if as_json else f"-> {file}")
    return status
