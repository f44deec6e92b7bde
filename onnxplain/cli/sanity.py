"""`onnxplain sanity`: does a map depend on what the model has learned?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console, echo
from onnxplain.cli.flags import EXPLAINED, Given
from onnxplain.cli.loading import method_options, open_model
from onnxplain.cli.notes import note_choice, note_guess
from onnxplain.cli.pictures import find_images
from onnxplain.cli.tables import print_table
from onnxplain.errors import OptionError
from onnxplain.jobs.inputs import each_sample
from onnxplain.jobs.job import Saving
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.metrics.sanity import SAME_ABOVE, SanityCheck, Stage, sanity_check
from onnxplain.results.comparison import require_picture


def command(
    *,
    model: parameters.ModelPath,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture.")],
    method: parameters.MethodName = "auto",
    target: Annotated[
        str,
        typer.Option(
            "--target", "-t", rich_help_panel=EXPLAINED, metavar="CLASS", help="Index, label, top1."
        ),
    ] = "top1",
    stages: Annotated[
        int, typer.Option(metavar="COUNT", help="Models to compare, each with more random layers.")
    ] = 6,
    out: parameters.Out = parameters.DEFAULT_OUT,
    colormap: parameters.Colormap = "inferno",
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    loading: Given,
    preprocess: Given,
    arrays: Given,
    options: Given,
) -> None:
    """Shuffle the model's weights stage by stage, and print and draw how the map changes."""
    console = Console(quiet=quiet, as_json=as_json)
    if method != AUTO:
        make_method(method, options)
    saving = Saving(out, (), colormap)
    saving.check()
    inputs = find_images([image])
    if len(inputs) > 1:
        raise OptionError(f"{image} means {len(inputs)} pictures: the check takes one.")
    explainer = open_model(model, loading, preprocess, arrays)
    note_guess(explainer.origin, model, console)
    own = method_options(options, explainer)
    picture, *others = each_sample(inputs, explainer)
    if others:
        raise OptionError(
            f"{image} holds {len(others) + 1} samples, and the check takes one: save it as a file "
            "of its own."
        )
    require_picture(explainer.kind_of(picture.given))
    found = sanity_check(explainer, picture.given, method, target, stages=stages, **own)
    parts = picture, "sanity", found.trained.method, explainer.output
    file = saving.save_drawing(found.draw(colormap), *parts)
    note_choice(method, explainer, console)
    if console.as_json:
        console.result(_as_json(found, file))
    else:
        _print(found, file)


_STAGE_KEYS = ("layers", "node", "correlation", "reason")


def _print(found: SanityCheck, file: Path) -> None:
    headings = "layers shuffled", "down to", "rank correlation with the trained model's map"
    print_table(headings, [(str(s.layers), s.node, _correlation(s)) for s in found.stages])
    echo(_verdict(found))
    echo(f"-> {file}")


def _correlation(stage: Stage) -> str:
    if stage.correlation is None:
        return f"no map: {stage.reason}"
    return f"{stage.correlation:.2f}"


def _verdict(found: SanityCheck) -> str:
    method = found.trained.method
    if found.passed:
        return f"The map of {method} changes with the model's weights, as it should."
    same = [stage.layers for stage in found.stages if stage.same]
    if found.stages[0].layers in same:
        return (
            f"The map of {method} stays the same (above {SAME_ABOVE}) while layers are "
            "shuffled: it shows the picture more than the model."
        )
    return (
        f"The map of {method} changes as soon as the first layers are shuffled, but is like the "
        f"trained model's again (above {SAME_ABOVE}) with {', '.join(map(str, same))} shuffled: "
        "look at the maps, and try another --target or picture, for few large cells may agree by "
        "chance."
    )


def _as_json(found: SanityCheck, file: Path) -> str:
    return json.dumps(
        {
            "method": found.trained.method,
            "target": found.trained.target.name,
            "passed": found.passed,
            "stages": [{key: getattr(stage, key) for key in _STAGE_KEYS} for stage in found.stages],
            "file": str(file),
        }
    )
