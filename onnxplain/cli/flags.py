"""Tables of the options that are passed on under the names that they have in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable
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
    short: tuple[str, ...] = ()

    def parameter(self, panel: str) -> inspect.Parameter:
        """The parameter of a typer command that stands for this flag."""
        option = typer.Option(
            None,
            self._spelling,
            *self.short,
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

ASPECT = Table(
    EXPLAINED,
    (
        Flag(
            "layer",
            str,
            "NAME",
            "Node or tensor to look at: auto is the last with a grid; several between commas; all.",
            ("-l",),
        ),
        Flag(
            "score", str, "KIND", "Explain the logit or the probability; each method has its own."
        ),
    ),
)

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

METHOD = Table(
    "Options of single methods, see `onnxplain methods`",
    (
        Flag(
            "baseline", str, "WHAT", "What absent looks like: black, blur, ..., a picture or .npy."
        ),
        Flag("fill", str, "WHAT", "What a window is filled with: as --baseline."),
        Flag("window", str, "PIXELS", "Window that is covered: 32, or 32x48 (rows x columns)."),
        Flag("stride", str, "PIXELS", "Step from window to window."),
        Flag("samples", int, "COUNT", "Random masks, noisy copies, or random points."),
        Flag("noise", float, "SHARE", "Sigma of noisy copies, as a share of the input's range."),
        Flag("steps", int, "COUNT", "Steps along the way from a baseline."),
        Flag("rule", str, "NAME", "gauss-legendre, or riemann-left, -right, -middle, -trapezoid."),
        Flag("tolerance", float, "SHARE", "Double the steps until the values add up this well."),
        Flag("trials", int, "COUNT", "Random baselines to average over, with --baseline uniform."),
        Flag("max_sigma", float, "PIXELS", "Widest blur of the path of blur_ig."),
        Flag("fraction", float, "SHARE", "Share of the elements that a step of guided_ig moves."),
        Flag("max_distance", float, "SHARE", "How far guided_ig may leave the straight path."),
        Flag("baselines", list[str], "PICTURES", "Pictures, folders or patterns; may be repeated."),
        Flag("grid", int, "CELLS", "Cells on each side of a random mask."),
        Flag("segments", int, "COUNT", "Superpixels, roughly."),
        Flag("kernel_width", float, "NUMBER", "How far from the picture samples still count."),
        Flag("ridge", float, "NUMBER", "Penalty on the slopes of a fit."),
        Flag("rate", float, "NUMBER", "Size of a step of gradient ascent."),
        Flag("jitter", int, "PIXELS", "How far a picture is moved about while it is painted."),
        Flag("zoom", float, "SHARE", "How far it is zoomed in and out."),
        Flag("blocks", int, "COUNT", "Blocks of a transformer that count, the last ones."),
        Flag("neighbours", bool, "", "Keep the tokens around a token too, in vit_reciprocam."),
        Flag("keep", float, "SHARE", "Share of the cells that a random mask keeps."),
        Flag("seed", int, "NUMBER", "Seed of whatever is random."),
        Flag("composite", str, "NAME", "LRP's rules: epsilon, zplus, epsilon_gamma_box, ..."),
        Flag("epsilon", float, "NUMBER", "Keeps LRP's denominators away from 0."),
        Flag("gamma", float, "NUMBER", "How much LRP's gamma rule favours the output's own sign."),
        Flag("low", str, "WHAT", "Lower bound of the input, for LRP's box rule: as --baseline."),
        Flag("high", str, "WHAT", "Upper bound: as --baseline."),
        Flag("fuse", str, "HOW", "Fuse the maps of several layers by their mean or max."),
        Flag("relu", bool, "", "Keep only what speaks for the target, in gradcam."),
        Flag("counterfactual", bool, "", "Show what speaks against the target, in gradcam."),
        Flag("only_channels", str, "INDICES", "The channels that count: 3,17."),
        Flag("only_neurons", str, "CELLS", "The grid's cells that count: 2x3,2x4 (row x column)."),
        Flag("channel", int, "INDEX", "The one channel to show."),
    ),
)


SWITCHES = tuple(flag.name for table in (METHOD,) for flag in table.flags if flag.kind is bool)
"""Flags without a value: `--name` and `--no-name`."""


def takes(**tables: tuple[Table, ...]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace parameters of a typer command by the flags of tables.

    The command receives, under the parameter's name, what the user gave of those flags.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def expanded(**values: Any) -> None:
            for name, group in tables.items():
                flags = [flag.name for table in group for flag in table.flags]
                given = {flag: values.pop(flag) for flag in flags}
                values[name] = {flag: v for flag, v in given.items() if v not in (None, [])}
            command(**values)

        own = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for name, parameter in own.parameters.items():
            if name in tables:
                parameters.extend(f.parameter(t.panel) for t in tables[name] for f in t.flags)
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        expanded.__name__, expanded.__doc__ = command.__name__, command.__doc__
        expanded.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return expanded

    return decorate
