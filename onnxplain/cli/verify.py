"""`onnxplain verify`: an exported file beside the model that it was made from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import method_options, open_model
from onnxplain.cli.pictures import find_images
from onnxplain.cli.tables import print_table
from onnxplain.exporting.verify import Verified, verify

_HEADINGS = "picture", "model's outputs", "values", "heatmap", ""


def command(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `export` wrote.")],
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The .onnx file that it was made from.")
    ],
    images: parameters.Images,
    allow: Annotated[
        float, typer.Option(metavar="SHARE", help="Largest difference that is no failure.")
    ] = 0.01,
    as_json: parameters.AsJson = False,
    loading: Given,
    preprocess: Given,
    options: Given,
) -> int:
    """Print for each picture how far the file is from the model, and from what `run` shows.

    Differences of outputs and of values are relative to the largest value. The exit status is 1 if
    one is larger than `--allow`.

    Raises:
        OnnxplainError: the file was not made from the model, or a picture cannot be explained.
    """
    console = Console(quiet=False, as_json=as_json)
    explainer = open_model(model, loading, preprocess)
    pictures = [image.path for image in find_images(images)]
    found = list(verify(file, explainer, pictures, **method_options(options, explainer)))
    fails = [bool(one.problem) or one.largest > allow for one in found]
    if console.as_json:
        facts = [vars(one) | {"picture": str(one.picture)} for one in found]
        console.result(json.dumps(_finite(facts)))
    else:
        print_table(_HEADINGS, [_row(one, bad) for one, bad in zip(found, fails, strict=True)])
    return int(any(fails))


def _row(one: Verified, fails: bool) -> tuple[str, ...]:
    numbers = (one.outputs, one.values, one.heatmap)
    shown = ["no map" if math.isnan(number) else f"{number:.1e}" for number in numbers]
    remark = one.problem or ("larger than --allow" if fails else "")
    return str(one.picture), *shown, remark


def _finite(facts: list[dict[str, object]]) -> list[dict[str, object]]:
    """The facts with None in place of NaN, which JSON does not have."""
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in one.items()}
        for one in facts
    ]
