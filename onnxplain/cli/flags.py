"""Tables of the options that are passed on under the names that they have in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

Given = dict[str, Any]
"""What the user gave of a table's flags, by name; the others keep their defaults elsewhere."""


@dataclass(frozen=True)
class Flag:
    """One option: `--some-name METAVAR` for `some_name`."""

    name: str
    kind: Any
    metavar: str
    help: str
    short: str = ""

    def parameter(self, panel: str) -> inspect.Parameter:
        """The parameter of a typer command that stands for this flag."""
        option = typer.Option(
            None,
            self._spelling,
            *filter(None, [self.short]),
            metavar=self.metavar,
            help=self.help,
            rich_help_panel=panel,
            show_default=False,
        )
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=self.kind
        )

    @property
    def _spelling(self) -> str:
        name = self.name.replace("_", "-")
        return f"--{name}/--no-{name}" if self.kind is bool else f"--{name}"


@dataclass(frozen=True)
class Table:
    """Flags under one heading of the help."""

    panel: str
    flags: tuple[Flag, ...]


EXPLAINED = "What to explain"

MODEL = Table(
    "Model",
    (
        Flag(
            "provider", str, "NAME", "auto, cpu, cuda, tensorrt, openvino, or ONNX Runtime's name."
        ),
        Flag(
            "output", str, "NAME", "Output or inner tensor with the scores; the first float output."
        ),
        Flag("explain", str, "NAME", "Input to explain, where it is not plain."),
        Flag("input", list[str], "NAME=FILE.npy", "Value of another input; may be repeated."),
        Flag("labels", str, "FILE", "Names of the classes: one a line, or JSON."),
    ),
)

PREPROCESS = Table(
    "Preprocessing, instead of what `onnxplain inspect` shows",
    (
        Flag("size", str, "PIXELS", "224, or HEIGHTxWIDTH, or picture for its own size."),
        Flag("layout", str, "AXES", "NCHW or NHWC."),
        Flag("channels", str, "ORDER", "RGB, BGR or GRAY."),
        Flag("fit", str, "HOW", "crop, stretch or letterbox."),
        Flag("resize", str, "PIXELS", "Short side before the crop, or HEIGHTxWIDTH."),
        Flag(
            "interpolation", str, "NAME", "nearest, bilinear, bicubic, area, antialias-bilinear..."
        ),
        Flag("scale", str, "NUMBER", "The input is (value 0..255 * scale - mean) / std."),
        Flag("mean", str, "NUMBERS", "One, or one per channel: 0.485,0.456,0.406."),
        Flag("std", str, "NUMBERS", "One, or one per channel."),
        Flag("pad", str, "NUMBER", "Value 0..255 around a letterbox."),
    ),
)


def method_tables() -> Sequence[Table]:
    """The options of all methods, as their fields declare them."""
    from onnxplain.methods.registry import OPTIONS  # which loads numpy and ONNX

    def flags(*, aspect: bool) -> tuple[Flag, ...]:
        return tuple(
            Flag(name, values.given, option.metavar, option.help, option.short)
            for name, (values, option) in OPTIONS.items()
            if option.aspect == aspect
        )

    return (
        Table(EXPLAINED, flags(aspect=True)),
        Table("Options of single methods, see `onnxplain methods`", flags(aspect=False)),
    )


def switches() -> list[str]:
    """Options of methods whose flag takes no value: `--name` and `--no-name`."""
    return [flag.name for table in method_tables() for flag in table.flags if flag.kind is bool]


TABLES: Mapping[str, Callable[[], Sequence[Table]]] = {
    "loading": lambda: (MODEL,),
    "preprocess": lambda: (PREPROCESS,),
    "options": method_tables,
}
"""The parameters of commands that receive what the user gave of the flags of tables."""


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The typer command that has the flags of `TABLES` in place of parameters of those names."""
    own = inspect.signature(command, eval_str=True)
    tables = {name: TABLES[name]() for name in own.parameters if name in TABLES}

    def run(**values: Any) -> None:
        for name, group in tables.items():
            given = {flag.name: values.pop(flag.name) for table in group for flag in table.flags}
            values[name] = {flag: v for flag, v in given.items() if v not in (None, [])}
        command(**values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        if name in tables:
            parameters.extend(f.parameter(t.panel) for t in tables[name] for f in t.flags)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run
