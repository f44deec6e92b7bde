"""Parameters that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onnxplain.cli.completion import method_names
from onnxplain.cli.flags import EXPLAINED


def _switch(text: str, *spellings: str) -> Any:
    """An option that takes no value."""
    return typer.Option(*spellings, metavar="", help=text)


ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx file.")]
_IMAGES = typer.Argument(
    metavar="IMAGE", help="Pictures, folders, or patterns in quotes.", show_default=False
)
_JOB_IMAGES = typer.Argument(
    metavar="IMAGE",
    help="Pictures, folders, patterns in quotes, @LIST, .tar or .parquet files, s3://...",
    show_default=False,
)
Images = Annotated[list[str], _IMAGES]
MaybeImages = Annotated[list[str] | None, _JOB_IMAGES]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        rich_help_panel=EXPLAINED,
        metavar="CLASS",
        help="Index, label, top1 (the default), top5, all, 'p>0.5'...; several between commas, or "
        "repeated. A segmenter's where it is predicted, or 15@all, 15@X,Y, 15@box:X,Y,W,H, "
        "15@mask.png; without the 15 for a depth and other pictures. Of an embedding, "
        "similar:PICTURE, similar:TEXT. Of a text, text, char:3, step:4,17.",
    ),
]
TOP = ("top1",)
BatchSize = Annotated[
    int | None, typer.Option(metavar="COUNT", help="Samples per run; chosen automatically.")
]
Quiet = Annotated[bool, _switch("Print errors only.", "--quiet", "-q")]
Verbose = Annotated[bool, _switch("Print what was used, and what it cost.", "--verbose", "-v")]
Profile = Annotated[
    bool,
    _switch("Measure which provider ran each node; write profile.json to the folder.", "--profile"),
]
Quality = Annotated[
    bool,
    _switch(
        "Measure deletion, insertion and sensitivity of each map, for manifest and caption.",
        "--quality",
    ),
]
Recursive = Annotated[bool, _switch("Search folders in folders, too.", "--recursive", "-r")]
JOB = "Many pictures"
Resume = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        metavar="",
        rich_help_panel=JOB,
        show_default=False,
        help="Go on with the job in the folder, and keep an index; the default for folders and "
        "patterns.",
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        metavar="",
        rich_help_panel=JOB,
        help="Try the pictures again that failed before.",
    ),
]
ShardName = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="NUMBER/COUNT",
        rich_help_panel=JOB,
        help="Explain one of several parts: 3/16.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        metavar="COUNT", min=1, rich_help_panel=JOB, help="Explain so many pictures, and stop."
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="COUNT",
        rich_help_panel=JOB,
        help="Threads that read, prepare and save pictures, 2 by default; with --on ray processes "
        "that explain, or bounds such as 2-8.",
        show_default=False,
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        metavar="CLUSTER",
        rich_help_panel=JOB,
        help="Explain on a Ray cluster: ray, or ray://HOST:PORT.",
        show_default=False,
    ),
]
WorkerCpus = Annotated[
    float,
    typer.Option(
        metavar="COUNT", min=0, rich_help_panel=JOB, help="Cores for each process of --on ray."
    ),
]
WorkerGpus = Annotated[
    float,
    typer.Option(
        metavar="COUNT",
        min=0,
        rich_help_panel=JOB,
        help="GPUs for each process of --on ray; 0.5 lets two share one.",
    ),
]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        "-m",
        metavar="NAME",
        rich_help_panel=EXPLAINED,
        help="See `onnxplain methods`; `onnxplain methods NAME` lists its options.",
        autocompletion=method_names,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the files.")]
DEFAULT_OUT = Path("onnxplain-out")
Formats = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="NAMES",
        help="npy, heatmap, png, json, tiff, png16, yml: any of them between commas.",
    ),
]
MaybeFormats = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="NAMES",
        help="npy, heatmap, png, json (the default), tiff, png16, yml, map16 between commas; for "
        "texts npy, html, json.",
        show_default=False,
    ),
]
DEFAULT_FORMATS = "npy,heatmap,png,json"
Colormap = Annotated[
    str, typer.Option(metavar="NAME", help="Colors of the png: inferno, viridis, jet...")
]
AsJson = Annotated[bool, _switch("JSON on standard output, nothing else.", "--json")]
