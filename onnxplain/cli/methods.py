"""`onnxplain methods`: what there is, from the registry of methods."""

from __future__ import annotations

import dataclasses
import json
from itertools import starmap
from typing import Any

import typer

from onnxplain.cli.parameters import AsJson
from onnxplain.cli.tables import print_table
from onnxplain.methods.base import Method
from onnxplain.methods.registry import METHODS

_YES_NO = {True: "yes", False: "no"}


def command(*, as_json: AsJson = False) -> None:
    """Print every method, as a table or as one JSON array."""
    found = [_describe(kind) for kind in METHODS.values()]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    print_table(
        ("method", "shows", "layer", "gradient", "forward passes", "score", "options", "paper"),
        [
            (
                method["name"],
                method["summary"],
                _YES_NO[method["needs_layer"]],
                _YES_NO[method["needs_gradient"]],
                method["cost"],
                method["score"],
                ", ".join(starmap(_option_text, method["options"].items())),
                method["paper"],
            )
            for method in found
        ],
    )


def _option_text(name: str, default: object) -> str:
    return name if default is None else f"{name}={default}"


def _describe(kind: type[Method]) -> dict[str, Any]:
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
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
