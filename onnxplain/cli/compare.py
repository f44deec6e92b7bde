"""`onnxplain compare`: several methods on the same pictures, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console, print_error
from onnxplain.cli.flags import EXPLAINED, Given
from onnxplain.cli.loading import method_options, open_model, options_of_each
from onnxplain.cli.notes import Warnings, note_guess, noting_cost, print_picture_error
from onnxplain.cli.pictures import find_images
from onnxplain.errors import GradientError, LayerError, MapError, OptionError, TargetError
from onnxplain.explainer import Explainer
from onnxplain.jobs.inputs import InputImage, each_sample
from onnxplain.jobs.job import Saving, errors_of_one_picture, explanations_and_errors
from onnxplain.methods.registry import make_method
from onnxplain.results.comparison import draw_comparison, require_picture
from onnxplain.results.explanation import Explanation

_REFUSALS = (GradientError, LayerError, MapError, OptionError, TargetError)
"""Why one method has nothing to show for a picture while another has."""


def command(
    *,
    model: parameters.ModelPath,
    images: parameters.Images,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            "-m",
            metavar="NAMES",
            rich_help_panel=EXPLAINED,
            help="Methods between commas, the columns; see `onnxplain methods`.",
        ),
    ] = "hirescam,gradcam,occlusion,integrated_gradients",
    target: parameters.Targets = None,
    out: parameters.Out = parameters.DEFAULT_OUT,
    colormap: parameters.Colormap = "inferno",
    recursive: parameters.Recursive = False,
    batch_size: parameters.BatchSize = None,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    loading: Given,
    preprocess: Given,
    arrays: Given,
    options: Given,
) -> int:
    """Draw every picture's comparison and return the exit status.

    A method that refuses a picture is reported and leaves its column empty.
    """
    console = Console(quiet=quiet, as_json=as_json)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise OptionError("Name the methods to compare, such as --methods gradcam,lrp.")
    own = options_of_each(names, options)
    for name, given in own.items():
        make_method(name, given)
    saving = Saving(out, (), colormap)
    saving.check()
    inputs = find_images(images, recursive)
    explainer = open_model(model, loading | {"batch_size": batch_size}, preprocess, arrays)
    note_guess(explainer.origin, model, console)
    read = {name: method_options(given, explainer) for name, given in own.items()}
    targets = target or parameters.TOP
    warnings = Warnings(console)
    drawable, status = _drawable(inputs, explainer)
    for image in each_sample(drawable, explainer):
        try:
            found, refused = _explanations(explainer, image, read, targets, console)
        except errors_of_one_picture(explainer) as error:
            print_picture_error(error, image)
            status = error.exit_status
            continue
        if refused:
            status = OptionError.exit_status
        for explanation in found:
            warnings.note(explanation)
        if found:
            drawn = draw_comparison(found, colormap, names)
            file = saving.save_drawing(drawn, image, "compare", explainer.output)
            console.result(_result_line(image, file, found, refused, console))
    warnings.note_repeats()
    return status


def _drawable(inputs: Sequence[InputImage], explainer: Explainer) -> tuple[list[InputImage], int]:
    """The files whose maps can be drawn side by side, and the exit status for the others."""
    drawable, status = list[InputImage](), 0
    for image in inputs:
        first = each_sample([image], explainer)[0]
        try:
            require_picture(explainer.kind_of(first.given))
        except errors_of_one_picture(explainer) as error:
            print_picture_error(error, image)
            status = error.exit_status
        else:
            drawable.append(image)
    return drawable, status


def _explanations(
    explainer: Explainer,
    image: InputImage,
    options: dict[str, Given],
    targets: Sequence[str],
    console: Console,
) -> tuple[list[Explanation], dict[str, str]]:
    """Of every method, and the reason of each that refused.

    Raises nothing for a target whose map shows nothing while another's does: that is a warning.
    """
    found: list[Explanation] = []
    refused: dict[str, str] = {}
    for method, own in options.items():
        try:
            with console.progress(f"{image.title}: {method}") as report:
                explainer.on_progress(noting_cost(method, report, console))
                shown, empty = explanations_and_errors(
                    explainer.try_each(image.given, method, targets, **own)
                )
            if not shown:
                raise empty[0]
        except _REFUSALS as error:
            print_error(f"{image.source}, {method}: {error}")
            refused[method] = str(error)
            continue
        found += shown
        for nothing in empty:
            console.note(f"Warning: {image.source}, {method}: {nothing}")
    return found, refused


def _result_line(
    image: InputImage,
    file: Path,
    found: Sequence[Explanation],
    refused: dict[str, str],
    console: Console,
) -> str:
    """The line about a file that was written."""
    targets = list(dict.fromkeys(e.target.name for e in found))
    if not console.as_json:
        return f"{image.source}: {', '.join(targets)} -> {file}"
    facts = {
        "picture": image.source,
        "targets": targets,
        "methods": list(dict.fromkeys(e.method for e in found)),
        "refused": refused,
        "file": str(file),
    }
    return json.dumps(facts)
