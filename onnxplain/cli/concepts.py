"""`onnxplain concepts`: the concepts of a picture, and what they matter to a class."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console
from onnxplain.cli.flags import EXPLAINED, Given
from onnxplain.cli.loading import open_model
from onnxplain.cli.notes import note_guess, print_picture_error
from onnxplain.cli.pictures import find_images
from onnxplain.errors import OptionError
from onnxplain.explainer import Explainer
from onnxplain.file_names import safe_name
from onnxplain.jobs.inputs import InputImage
from onnxplain.jobs.job import errors_of_one_picture
from onnxplain.reports.picture_concepts import drawn, picture_concepts
from onnxplain.results.comparison import require_picture
from onnxplain.results.formats.arrays import npy
from onnxplain.results.formats.manifest import as_json
from onnxplain.results.formats.png_file import encode_png
from onnxplain.results.formats.write import check_folder, write_files


def command(
    *,
    model: parameters.ModelPath,
    images: parameters.Images,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            rich_help_panel=EXPLAINED,
            metavar="CLASS",
            help="The class that concepts matter to: index, label or top1.",
        ),
    ] = "top1",
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            "-l",
            rich_help_panel=EXPLAINED,
            metavar="NAME",
            help="Node or tensor whose activation is factored: auto is the last with a grid.",
        ),
    ] = "auto",
    count: Annotated[int, typer.Option(metavar="COUNT", help="Concepts to find, 1 to 10.")] = 5,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of everything random.")] = 0,
    out: parameters.Out = parameters.DEFAULT_OUT,
    recursive: parameters.Recursive = False,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    loading: Given,
    preprocess: Given,
) -> int:
    """Find the concepts of every picture by itself, and return the exit status."""
    console = Console(quiet=quiet, as_json=as_json)
    if seed < 0:
        raise OptionError(f"A seed is 0 or more, not {seed}.")
    check_folder(out)
    inputs = find_images(images, recursive)
    explainer = open_model(model, loading, preprocess)
    note_guess(explainer.origin, model, console)
    status = 0
    for image in inputs:
        try:
            facts, files = _of(explainer, image, target, count=count, layer=layer, seed=seed)
        except errors_of_one_picture(explainer) as error:
            print_picture_error(error, image)
            status = error.exit_status
            continue
        paths = write_files(out / image.folder, files)
        if console.as_json:
            console.result(json.dumps({**facts, "files": [str(path) for path in paths]}))
        else:
            shares = ", ".join(f"{one:.2f}" for one in facts["importance"])
            name = facts["target"]["name"]
            console.result(f"{image.source}: {name}: importance {shares} -> {paths[0]}")
    return status


def _of(
    explainer: Explainer, image: InputImage, target: str, **options: Any
) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
    """What is known of the concepts of a picture, in JSON types, and the files."""
    require_picture(explainer.kind_of(image.given))
    taken = explainer.take(image.given)
    found = picture_concepts(explainer, taken, target, **options)
    facts = {
        "picture": image.source,
        "model": {"path": explainer.whole_model.path, "sha256": explainer.whole_model.sha256},
        "preprocess": taken.settings,
        **found.to_dict(),
        "options": options,
    }
    stem = f"{safe_name(image.name)}.concepts.{found.target.described.file_name}"
    data = as_json(facts)
    files = {
        f"{stem}.png": encode_png(drawn(found, taken)),
        f"{stem}.npy": npy(found.values),
        f"{stem}.channels.npy": npy(found.parts),
        f"{stem}.json": data,
    }
    return json.loads(data), files
