"""The commands and their options, and how a command line ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from onnxplain.cli.console import Console, report_failure
from onnxplain.cli.flags import EXPLAINED, Given, expanded

_RUN_EXAMPLES = """
[bold]Examples[/bold]

onnxplain run model.onnx cat.jpg

onnxplain run model.onnx photos/ 'more/*.png' -m occlusion -t top3 -o maps

onnxplain run model.onnx cat.jpg -t 'tiger cat' -l /layer4/Relu_output_0 -f png,tiff

onnxplain run model.onnx -m activation_maximization -l /layer4/Relu_output_0 --channel 12

onnxplain run model.onnx cat.jpg --fit crop --resize 256 --scale 0.00392157 --mean 0.5 --std 0.5
"""

_COMPARE_EXAMPLES = """
[bold]Examples[/bold]

onnxplain compare model.onnx cat.jpg

onnxplain compare model.onnx photos/ -m gradcam,lrp,rise -t top3 --samples 2000
"""

_EXAMPLES = """
[bold]Examples[/bold]

onnxplain run model.onnx cat.jpg

onnxplain compare model.onnx cat.jpg

onnxplain inspect model.onnx
"""

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx file.")]
Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE", help="Pictures, folders, or patterns in quotes."),
]
MaybeImages = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE", help="Pictures, folders, or patterns in quotes.", show_default=False
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        rich_help_panel=EXPLAINED,
        metavar="CLASS",
        help="Index, label, top1 (the default), top5...; several between commas, or repeated. A "
        "segmenter's where it is predicted, or 15@all, 15@X,Y, 15@box:X,Y,W,H, 15@mask.png.",
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(metavar="COUNT", help="Samples per run; chosen by itself.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Say nothing but errors.")]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        "-m",
        metavar="NAME",
        rich_help_panel=EXPLAINED,
        help="See `onnxplain methods`.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the files go.")]
DEFAULT_OUT = Path("onnxplain-out")
Colormap = Annotated[
    str, typer.Option(metavar="NAME", help="Colours of the png: inferno, viridis, jet...")
]
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="JSON on standard output, nothing else.")
]
Debug = Annotated[bool, typer.Option("--debug", metavar="", help="Show the traceback of an error.")]


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


def run(
    *,
    context: typer.Context,
    model: ModelPath,
    images: MaybeImages = None,
    method: MethodName = "scorecam",
    target: Targets = None,
    out: Out = DEFAULT_OUT,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="NAMES",
            help="npy, heatmap, png, json, tiff, png16, yml: any of them between commas.",
        ),
    ] = "npy,heatmap,png,json",
    colormap: Colormap = "inferno",
    batch_size: BatchSize = None,
    json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
    loading: Given,
    preprocess: Given,
    options: Given,
) -> None:
    """Explain pictures: save what the method computed, a heatmap, an overlay and a manifest."""
    context.obj["debug"] = debug
    from onnxplain.cli.run import explain_pictures
    from onnxplain.jobs.job import Saving

    status = explain_pictures(
        model,
        images or [],
        method=method,
        targets=target or ["top1"],
        options=options,
        loading=loading | {"batch_size": batch_size},
        preprocess=preprocess,
        saving=Saving(out, [name.strip() for name in formats.split(",")], colormap),
        console=Console(quiet=quiet, as_json=json),
    )
    raise typer.Exit(status)


def compare(
    *,
    context: typer.Context,
    model: ModelPath,
    images: Images,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            "-m",
            metavar="NAMES",
            rich_help_panel=EXPLAINED,
            help="Methods between commas, the columns; see `onnxplain methods`.",
        ),
    ] = "gradcam,scorecam,occlusion,integrated_gradients",
    target: Targets = None,
    out: Out = DEFAULT_OUT,
    colormap: Colormap = "inferno",
    batch_size: BatchSize = None,
    json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
    loading: Given,
    preprocess: Given,
    options: Given,
) -> None:
    """Draw several methods side by side, a row for each target."""
    context.obj["debug"] = debug
    from onnxplain.cli.compare import compare_methods

    status = compare_methods(
        model,
        images,
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        targets=target or ["top1"],
        options=options,
        loading=loading | {"batch_size": batch_size},
        preprocess=preprocess,
        folder=out,
        colormap=colormap,
        console=Console(quiet=quiet, as_json=json),
    )
    raise typer.Exit(status)


def sanity(
    *,
    context: typer.Context,
    model: ModelPath,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture.")],
    method: MethodName = "gradcam",
    target: Annotated[
        str,
        typer.Option(
            "--target", "-t", rich_help_panel=EXPLAINED, metavar="CLASS", help="Index, label, top1."
        ),
    ] = "top1",
    stages: Annotated[
        int, typer.Option(metavar="COUNT", help="Models to look at, more and more of them random.")
    ] = 6,
    out: Out = DEFAULT_OUT,
    colormap: Colormap = "inferno",
    json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
    loading: Given,
    preprocess: Given,
    options: Given,
) -> None:
    """Check that a method's map depends on what the model has learnt (Adebayo 2018)."""
    context.obj["debug"] = debug
    from onnxplain.cli.sanity import check_method

    check_method(
        model,
        image,
        method=method,
        target=target,
        stages=stages,
        options=options,
        loading=loading,
        preprocess=preprocess,
        folder=out,
        colormap=colormap,
        console=Console(quiet=quiet, as_json=json),
    )


def inspect(
    *,
    context: typer.Context,
    model: ModelPath,
    all_layers: Annotated[
        bool,
        typer.Option(
            "--all", metavar="", help="List every layer with a grid, not just the main ones."
        ),
    ] = False,
    json: AsJson = False,
    debug: Debug = False,
    loading: Given,
    preprocess: Given,
) -> None:
    """Show what is known about a model: inputs, score, preprocessing, gradients, layers."""
    context.obj["debug"] = debug
    from onnxplain.cli.inspect import inspect_model

    inspect_model(model, loading, preprocess, all_layers=all_layers, as_json=json)


def methods(json: AsJson = False) -> None:
    """List the methods: what each shows, needs and costs, its options and its paper."""
    from onnxplain.cli.methods import list_methods

    list_methods(as_json=json)


_COMMANDS: Mapping[Callable[..., None], str | None] = {
    run: _RUN_EXAMPLES,
    compare: _COMPARE_EXAMPLES,
    sanity: None,
    inspect: None,
    methods: None,
}
"""The commands, and what stands below the help of each."""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    sys.exit(execute(sys.argv[1:]))


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
    asked = next((word for word in arguments if not word.startswith("-")), "")
    command = typer.main.get_command(_application(asked))
    try:
        with command.make_context("onnxplain", arguments, obj=settings) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _application(asked: str) -> typer.Typer:
    """The commands, of which only the one that is asked for gets its parameters.

    Those of the methods are known when the methods are loaded, which takes longer than a help.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", epilog=_EXAMPLES)
    app.callback()(onnxplain)
    for command, examples in _COMMANDS.items():
        name, text = command.__name__, command.__doc__
        built = expanded(command) if name == asked else lambda: None
        app.command(name, help=text, epilog=examples)(built)
    return app
