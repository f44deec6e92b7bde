"""`onnxplain export`: a model and a method as one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console
from onnxplain.cli.flags import EXPLAINED, Given
from onnxplain.cli.loading import method_options, open_model
from onnxplain.cli.notes import note_choice, note_guess, note_random
from onnxplain.exporting import export
from onnxplain.exporting.file import OutputFile
from onnxplain.file_names import safe_name
from onnxplain.methods.registry import AUTO, make_method


def command(
    *,
    model: parameters.ModelPath,
    method: parameters.MethodName = AUTO,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            rich_help_panel=EXPLAINED,
            metavar="CLASS",
            help="Explain only this; by default the file has an input that chooses the class.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The file to write; by default MODEL.METHOD.onnx in the working folder.",
            show_default=False,
        ),
    ] = None,
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            metavar="",
            help="The file takes a picture of any size, uint8 (H, W, 3), and prepares it itself.",
        ),
    ] = False,
    with_overlay: Annotated[
        bool,
        typer.Option(
            "--with-overlay",
            metavar="",
            help="As --with-preprocessing; the file also returns the overlay, uint8 (H, W, 3).",
        ),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            min=1,
            help="Samples that the file takes: any by default, but gradients are faster with 1.",
            show_default=False,
        ),
    ] = None,
    external_data: Annotated[
        bool,
        typer.Option(
            "--external-data", metavar="", help="Write the weights to FILE.data, beside the file."
        ),
    ] = False,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    loading: Given,
    preprocess: Given,
    options: Given,
) -> None:
    """Write a file whose graph predicts and explains.

    Raises:
        OnnxplainError: the method cannot be exported, or the file cannot be written.
    """
    console = Console(quiet=quiet, as_json=as_json)
    if method != AUTO:
        make_method(method, options)
    explainer = open_model(model, loading, preprocess)
    own = explainer.configured(method, method_options(options, explainer))
    path = out or Path(f"{safe_name(model.stem)}.{own.name}.onnx")
    export(
        explainer,
        path,
        own,
        target=target,
        with_preprocessing=with_preprocessing,
        with_overlay=with_overlay,
        external_data=external_data,
        batch_size=batch_size,
    )
    note_guess(explainer.origin, model, console)
    note_choice(method, explainer, console)
    note_random(explainer, console)
    runs = explainer.batching()
    if not runs.startswith("in batches") and not (with_preprocessing or with_overlay):
        console.note(f"Note: the file takes no other number of samples than its model: {runs}.")
    files = OutputFile(path, external_data).paths
    if console.as_json:
        console.result(json.dumps({"files": [str(file) for file in files], "method": own.name}))
    else:
        size = sum(file.stat().st_size for file in files)
        console.result(f"-> {', '.join(map(str, files))} ({size / 1e6:.1f} MB)")
