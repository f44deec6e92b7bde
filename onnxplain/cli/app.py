"""The commands and their options, and how a command line ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from onnxplain.cli.console import report_failure
from onnxplain.cli.flags import with_flags
from onnxplain.cli.signals import end_on_signals
from onnxplain.cli.streams import open_closed_streams

_COMMANDS = {
    "run": "Explain pictures: save what the method computed, a heatmap, an overlay and a manifest.",
    "show": "Draw a result of many again, from the maps that `run --format map16` kept.",
    "compare": "Draw several methods side by side, a row for each target.",
    "pair": "Show in each of two pictures what makes it similar to the other, for an embedding.",
    "report": "Compare the maps of many pictures: classes, clusters, strange inputs, as a page.",
    "diff": "Find the pictures at which two forms of a model, as float and int8, look differently.",
    "concepts": "Find the concepts of a picture at a layer, and what each matters to a class.",
    "sanity": "Check that a method's map depends on what the model has learned (Adebayo 2018).",
    "evaluate": "Measure methods by metrics, print and draw the table, and recommend one.",
    "export": "Write a model and a method as one ONNX file, which predicts and explains anywhere.",
    "verify": "Run an exported file beside its model, and print how far they differ.",
    "serve": "Predict and explain over HTTP, with KServe's V1 and V2 protocols.",
    "inspect": "Show what is known about a model: inputs, score, preprocessing, gradients, layers.",
    "providers": "List what models can run on here: ONNX Runtime's providers, and plug-ins.",
    "methods": "List the methods: what each shows, needs and costs, its options and its paper.",
}
"""The help of each command, which is the function `command` of the module of its name."""

_COMPLETE = "_ONNXPLAIN_COMPLETE"
"""Set by a shell that completes a command line."""

_EXAMPLES = {
    "": (
        "onnxplain run model.onnx cat.jpg",
        "onnxplain compare model.onnx cat.jpg",
        "onnxplain inspect model.onnx",
    ),
    "run": (
        "onnxplain run model.onnx cat.jpg",
        "onnxplain run model.onnx photos/ 'more/*.png' -m occlusion -t top3 -o maps",
        "onnxplain run model.onnx photos/ -r -m gradcam -f map16 -o maps",
        "onnxplain run model.onnx cat.jpg -t 'tiger cat' -l /layer4/Relu_output_0 -f png,tiff",
        "onnxplain run model.onnx -m activation_maximization -l /layer4/Relu_output_0 --channel 12",
        "onnxplain run model.onnx cat.jpg --fit crop --resize 256 --scale 0.00392157 --mean 0.5 "
        "--std 0.5",
    ),
    "show": ("onnxplain show maps cats/tabby -o drawn",),
    "serve": (
        "onnxplain serve model.onnx --method gradcam",
        "onnxplain serve model.onnx -m occlusion --host 0.0.0.0 --port 8000 --name cats",
    ),
    "report": (
        "onnxplain run model.onnx photos/ -r -m gradcam -o maps && onnxplain report maps",
        "onnxplain report maps --annotations instances.json --concepts model.onnx",
    ),
    "diff": ("onnxplain diff model.onnx model.int8.onnx photos/",),
    "concepts": ("onnxplain concepts model.onnx cat.jpg --count 5 -t 'tiger cat'",),
    "pair": (
        "onnxplain pair embedding.onnx cat.jpg lion.jpg",
        "onnxplain pair model.onnx cat.jpg lion.jpg --output /pool/Flatten_output_0 -m occlusion",
    ),
    "evaluate": (
        "onnxplain evaluate model.onnx photos/ -m hirescam,gradcam,lrp --metrics deletion,road",
        "onnxplain evaluate model.onnx photos/ --metrics pointing_game,iou --annotations coco.json",
    ),
    "export": (
        "onnxplain export model.onnx -m gradcam -o model.gradcam.onnx",
        "onnxplain export model.onnx -m gradcam --target 281-282 -o model.cat.onnx",
    ),
    "verify": ("onnxplain verify model.gradcam.onnx model.onnx cat.jpg photos/",),
    "compare": (
        "onnxplain compare model.onnx cat.jpg",
        "onnxplain compare model.onnx photos/ -m gradcam,lrp,rise -t top3 --samples 2000",
    ),
}


def _print_version(wanted: bool) -> None:
    if wanted:
        from onnxplain import __version__

        typer.echo(f"onnxplain {__version__}")
        raise typer.Exit


def onnxplain(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """See where an ONNX image model looked, and why it chose this class."""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    open_closed_streams()
    end_on_signals()
    status: int | None = None

    def end() -> None:
        """Leave out the exit handlers of native libraries: some crash after memory ran out."""
        if status is not None:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            os._exit(status)

    # What was registered first is called last, after temporary files were removed.
    atexit.register(end)
    status = execute(sys.argv[1:])
    sys.exit(status)


def execute(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; every failure becomes one sentence."""
    settings = {"debug": False}
    try:
        status = _invoke(list(arguments) or ["--help"], settings)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        return report_failure(error, settings["debug"])
    return status


def _invoke(arguments: list[str], settings: dict[str, bool]) -> int:
    completing = _COMPLETE in os.environ
    words = _typed().split()[1:] if completing else arguments
    asked = next((word for word in words if not word.startswith("-")), "")
    command = typer.main.get_command(_application(asked))
    if completing:
        try:
            command(prog_name="onnxplain")
        except SystemExit as end:  # after it has printed what the shell may add
            return int(end.code or 0)
    try:
        with command.make_context("onnxplain", arguments, obj=settings) as context:
            return command.invoke(context) or 0
    except typer.Exit as end:
        return end.exit_code


def _typed() -> str:
    """The command line that a shell completes, as far as it is typed: bash names it differently."""
    return os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")


def _application(asked: str) -> typer.Typer:
    """The commands, of which only the one that is asked for is imported and gets its parameters."""
    app = typer.Typer(rich_markup_mode="rich", epilog=_examples(""))
    app.callback()(onnxplain)
    for name, text in _COMMANDS.items():
        command = _command(name) if name == asked else lambda: None
        app.command(name, help=text, epilog=_examples(name))(command)
    return app


def _command(name: str) -> Callable[..., int | None]:
    return with_flags(import_module(f"onnxplain.cli.{name}").command)


def _examples(name: str) -> str | None:
    """The end of a help text."""
    lines = _EXAMPLES.get(name)
    return "\n\n".join(["[bold]Examples[/bold]", *lines]) if lines else None
