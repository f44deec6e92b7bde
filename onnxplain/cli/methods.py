"""`onnxplain methods`: what there is, from the registry of methods."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import typer

from onnxplain.cli.parameters import AsJson
from onnxplain.cli.tables import print_table
from onnxplain.methods.base import Method
from onnxplain.methods.registry import METHODS


def command(*, as_json: AsJson = False) -> None:
    """Print every method, as a table or as one JSON array."""
    found = [_describe(kind) for kind in METHODS.values()]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    headings = "method", "shows", "layer", "gradient", "forward passes", "score", "options", "paper"
    print_table(headings, [[_text(fact) for fact in method.values()] for method in found])


def _text(fact: object) -> str:
    match fact:
        case bool():
            return "yes" if fact else "no"
        case dict():
            return ", ".join(n if value is None else f"{n}={value}" for n, value in fact.items())
    return str(fact)


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
