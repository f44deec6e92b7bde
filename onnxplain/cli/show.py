"""`onnxplain show`: draw a result of a job again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console
from onnxplain.cli.pictures import limit_decoding
from onnxplain.jobs.results import Results


def command(
    *,
    index: Annotated[
        Path, typer.Argument(metavar="INDEX", help="The folder of a job, or its index.jsonl.")
    ],
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="The id of a result, or the address of its input.")
    ],
    out: parameters.Out = parameters.DEFAULT_OUT,
    colormap: parameters.Colormap = "inferno",
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
) -> int:
    """Draw the result from its map in the format map16, and return the exit status."""
    console = Console(quiet=quiet, as_json=as_json)
    limit_decoding()
    results = Results(index)
    record = results.record(id_)
    explanation = results.explanation(record)
    (path,) = explanation.save(out, "png", colormap=colormap)
    console.result(json.dumps({"id": record.id, "file": str(path)}) if as_json else f"-> {path}")
    return 0
