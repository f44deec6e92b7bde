"""`onnxplain diff`: where two forms of a model agree on the answer and look elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console, echo, print_error
from onnxplain.cli.flags import EXPLAINED, Given
from onnxplain.cli.loading import method_options, open_model
from onnxplain.cli.notes import note_choice, note_guess
from onnxplain.cli.pictures import find_images
from onnxplain.cli.tables import print_table
from onnxplain.errors import OptionError, PictureError
from onnxplain.explainer import Explainer
from onnxplain.images.sources import is_guess
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.reports.difference import Comparison, compare_models
from onnxplain.reports.difference_page import difference_json, difference_page
from onnxplain.results.formats.write import check_folder, write_files

_LISTED = 10


def command(
    *,
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="An .onnx file.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another form of the model.")],
    images: parameters.Images,
    method: parameters.MethodName = AUTO,
    target: Annotated[
        str,
        typer.Option(
            "--target", "-t", rich_help_panel=EXPLAINED, metavar="CLASS", help="Index, label, top1."
        ),
    ] = "top1",
    out: parameters.Out = parameters.DEFAULT_OUT,
    recursive: parameters.Recursive = False,
    noise_seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the noise.")] = 0,
    batch_size: parameters.BatchSize = None,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    loading: Given,
    preprocess: Given,
    options: Given,
) -> int:
    """Write diff.html and diff.json, print the largest differences, and return the exit status."""
    console = Console(quiet=quiet, as_json=as_json)
    if method != AUTO:
        make_method(method, options)
    if noise_seed < 0:
        raise OptionError(f"A seed is 0 or more, not {noise_seed}.")
    check_folder(out)
    inputs = find_images(images, recursive)
    loading = loading | {"batch_size": batch_size}
    models = _models(first, second, loading, preprocess, console)
    note_choice(method, models[0], console)
    named = models[0].default_method()[0] if method == AUTO else method
    own = method_options(options, models[0]), method_options(options, models[1])
    with console.progress("pictures") as progress:
        found = compare_models(
            models, _names(first, second), inputs, named, own, target, progress, noise_seed
        )
    for picture, reason in found.failed.items():
        print_error(f"{picture}: {reason}")
    data = difference_json(found)
    files = {"diff.json": data, "diff.html": difference_page(found)}
    _, page = write_files(out, files)
    if as_json:
        typer.echo(data.decode(), nl=False)
    elif not quiet:
        _print(found, page)
    return PictureError.exit_status if found.failed else 0


def _models(
    first: Path, second: Path, loading: Given, preprocess: Given, console: Console
) -> tuple[Explainer, Explainer]:
    """Both models; the second prepares pictures as the first, unless something says otherwise."""
    one = open_model(first, loading, preprocess)
    note_guess(one.origin, first, console)
    other = open_model(second, loading, preprocess)
    alike = one.input.dtype == other.input.dtype
    if is_guess(other.origin) and not is_guess(one.origin) and alike:
        console.note(f"Note: nothing says how {second} takes pictures: it gets those of {first}.")
        other = open_model(second, loading, one.preprocess)
    return one, other


def _names(first: Path, second: Path) -> tuple[str, str]:
    return (first.name, second.name) if first.name != second.name else (str(first), str(second))


def _print(found: Comparison, page: Path) -> None:
    rows = [
        (
            pair.input,
            pair.answers[0] if pair.agree else " / ".join(pair.answers),
            f"{pair.moved:.0%}{' *' if found.differs(pair) else ''}",
            f"{pair.own:.0%}",
            f"{pair.correlation:.2f}",
            f"{pair.ssim:.2f}",
        )
        for pair in found.pairs[:_LISTED]
    ]
    headings = "picture", "answers", "heat moved", "own variation", "rank correlation", "SSIM"
    print_table(headings, rows)
    echo(found.verdict)
    echo(f"-> {page}")
