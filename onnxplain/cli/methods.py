"""`onnxplain methods`: what there is, from the registry of methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from onnxplain.cli.completion import method_names
from onnxplain.cli.console import echo, echo_json
from onnxplain.cli.parameters import AsJson
from onnxplain.cli.tables import print_table
from onnxplain.methods.base import Method
from onnxplain.methods.options import options_of
from onnxplain.methods.registry import METHODS, method_class

_WIDTH = 80


def command(
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="One method, with its options.",
            show_default=False,
            autocompletion=method_names,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print every method, or one with its options, as a table or as JSON.

    Raises:
        OptionError: there is no method of that name.
    """
    kinds = list(METHODS.values()) if name is None else [method_class(name)]
    if as_json:
        found = [_describe(kind) for kind in kinds]
        echo_json(found if name is None else found[0], indent=2)
    elif name is None:
        print_table(("method", "what it shows"), [[k.name, k.summary] for k in kinds], _WIDTH)
        echo()
        echo("`onnxplain methods NAME` shows what a method needs and costs, and its options.")
    else:
        _print_one(kinds[0])


def _print_one(kind: type[Method]) -> None:
    facts = _describe(kind)
    rows = [
        ("shows", kind.summary),
        ("paper", kind.paper),
        ("forward passes", kind.cost),
        ("needs a layer", _yes(facts["needs_layer"])),
        ("needs gradients", _yes(facts["needs_gradient"])),
    ]
    print_table(("method", kind.name), rows, _WIDTH)
    echo()
    print_table(("option", "default", "meaning"), _options(kind), _WIDTH)


def _options(kind: type[Method]) -> Iterator[tuple[str, str, str]]:
    """The flag of each option, its default, and its help."""
    defaults = kind().options()
    for name, (values, option) in options_of(kind).items():
        flag = f"--{name.replace('_', '-')}"
        default = defaults[name]
        value = "" if values.given is bool else f" {option.metavar}"
        yield flag + value, "" if default is None else _text(default), option.help


def _text(default: object) -> str:
    return _yes(default) if isinstance(default, bool) else str(default)


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _describe(kind: type[Method]) -> dict[str, Any]:
    defaults = kind().options()
    score = defaults.pop("score")
    return {
        "name": kind.name,
        "summary": kind.summary,
        "needs_layer": kind.layers is not Method.layers,
        "needs_gradient": kind.needs_gradient,
        "cost": kind.cost,
        "score": score,
        "options": defaults,
        "paper": kind.paper,
    }
