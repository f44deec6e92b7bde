"""Flags whose values are passed on under the names that they have in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

Given = dict[str, Any]
"""What the user gave of some flags, by name; the others keep their defaults elsewhere."""


def make_flag(
    panel: str, name: str, kind: Any, metavar: str, text: str, *short: str, hidden: bool = False
) -> inspect.Parameter:
    """The parameter of a typer command for `--some-name METAVAR`, listed in a panel of the help.

    A `hidden` one is not listed.
    """
    spelling = f"--{name.replace('_', '-')}"
    option = typer.Option(
        None,
        f"{spelling}/--no-{spelling[2:]}" if kind is bool else spelling,
        *short,
        metavar=metavar,
        help=text,
        rich_help_panel=panel,
        show_default=False,
        hidden=hidden,
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)


EXPLAINED = "What to explain"

MODEL = [
    make_flag("Model", *facts)
    for facts in (
        (
            "provider",
            str,
            "NAME[:DEVICE]",
            "auto, cpu, cuda, cuda:1, openvino:gpu...; `onnxplain providers` lists them.",
        ),
        (
            "provider_option",
            list[str],
            "KEY=VALUE",
            "Option of the provider, as ONNX Runtime's documentation names it; may be repeated.",
        ),
        ("threads", int, "COUNT", "Most threads that run the model; by default one per core."),
        (
            "output",
            list[str],
            "NAME",
            "Output or inner tensor to explain, instead of the one found; `run` takes several.",
        ),
        ("boxes", str, "LAYOUT", "How a detector's outputs hold boxes, where it is not found."),
        ("blank", str, "CLASS", "Blank of a text recognizer: first, last, or its index."),
        ("explain", str, "NAME", "Input to explain, if several are possible."),
        (
            "input",
            list[str],
            "NAME=VALUE",
            "Value of another input: numbers (0.5 or 1,5,9), a .npy file or a picture; may be "
            "repeated.",
        ),
        (
            "tokenizer",
            str,
            "FILE",
            "The tokenizer.json of a model that reads texts; by default the one next to the model.",
        ),
        (
            "text",
            list[str],
            "TEXT",
            "Text to explain, or next to a picture the text of the other inputs; may be repeated.",
        ),
        ("text_pair", str, "TEXT", "Second text of a pair, such as the passage of a question."),
        ("text_model", str, "FILE", 'Model that embeds the text of --target similar:"TEXT".'),
        ("labels", str, "FILE", "Names of the classes: one a line, or JSON."),
        ("fix_random", bool, "", "Put means in place of random draws; Dropout in inference."),
    )
]

PREPROCESS = [
    make_flag("Preprocessing, instead of what `onnxplain inspect` shows", *facts)
    for facts in (
        ("size", str, "PIXELS", "224, HEIGHTxWIDTH, HEIGHTxauto, or picture for its own size."),
        ("layout", str, "AXES", "NCHW or NHWC."),
        ("channels", str, "ORDER", "RGB, BGR or GRAY."),
        ("fit", str, "HOW", "crop, stretch or letterbox."),
        ("resize", str, "PIXELS", "Short side before the crop, or HEIGHTxWIDTH."),
        ("interpolation", str, "NAME", "nearest, bilinear, bicubic, area, antialias-bilinear..."),
        ("scale", str, "NUMBER", "The input is (value 0..255 * scale - mean) / std."),
        ("mean", str, "NUMBERS", "One, or one per channel: 0.485,0.456,0.406."),
        ("std", str, "NUMBERS", "One, or one per channel."),
        ("pad", str, "NUMBER", "Value 0..255 around a letterbox."),
        ("multiple", str, "NUMBER", "Round the sides to it where pictures keep their size."),
    )
]

ARRAYS = [
    make_flag("Arrays: .npy files and TIFF scenes", *facts)
    for facts in (
        ("bands", str, "NUMBERS", "Channels to draw as red, green and blue, from 1: 3,2,1."),
        ("value_range", str, "LOW,HIGH", "Values that are drawn black and white: 0,3000."),
        ("names", str, "NAMES", "Of the features of a row: a,b,c, or a file, one a line."),
    )
]


def method_flags() -> list[inspect.Parameter]:
    """A flag for each option that a method has, as the methods' fields declare them.

    The help lists those that most methods have. `onnxplain methods NAME` lists the others.
    """
    from onnxplain.methods.registry import OPTIONS  # which loads numpy and ONNX

    return [
        make_flag(
            EXPLAINED,
            name,
            values.given,
            option.metavar,
            option.help,
            *option.short,
            hidden=not option.aspect,
        )
        for name, (values, option) in OPTIONS.items()
    ]


def switches() -> list[str]:
    """Options of methods whose flag takes no value: `--name` and `--no-name`."""
    return [flag.name for flag in method_flags() if flag.annotation is bool]


TABLES: Mapping[str, Callable[[], Sequence[inspect.Parameter]]] = {
    "loading": lambda: MODEL,
    "preprocess": lambda: PREPROCESS,
    "arrays": lambda: ARRAYS,
    "options": method_flags,
}
"""The parameters of commands that receive, by name, what the user gave of some flags."""


def with_flags(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """The typer command that has the flags of `TABLES` in place of parameters of those names.

    It has the flag --debug besides, which `execute` reads where the command fails.
    """
    own = inspect.signature(command, eval_str=True)
    tables = {name: TABLES[name]() for name in own.parameters if name in TABLES}

    def run(context: typer.Context, debug: bool, **values: Any) -> int | None:
        context.obj["debug"] = debug
        for name, flags in tables.items():
            given = {flag.name: values.pop(flag.name) for flag in flags}
            values[name] = {flag: v for flag, v in given.items() if v not in (None, [])}
        return command(**values)

    parameters = [_CONTEXT]
    for name, parameter in own.parameters.items():
        parameters += tables.get(name, [parameter])
    run.__signature__ = own.replace(parameters=[*parameters, _DEBUG])  # type: ignore[attr-defined]
    return run


_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
_DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=typer.Option(False, "--debug", metavar="", help="Show the traceback of an error."),
    annotation=bool,
)
