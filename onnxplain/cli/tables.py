"""Tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from onnxplain.visible import visible

_UNLIMITED = 100_000


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], width: int = _UNLIMITED
) -> None:
    """Print to standard output, without spaces at the end of a line.

    Long rows are wrapped at the width of the terminal. Where a program reads, they are wrapped at
    `width` characters: by default a row is one line.
    """
    width_now = None if sys.stdout.isatty() else width
    typer.echo(table_text(headings, rows, width_now))


def table_text(
    headings: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = _UNLIMITED
) -> str:
    """A table wrapped at `width` characters, None for that of the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(Text(visible(heading)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = Console(width=width)
    with console.capture() as printed:
        console.print(table)
    lines = [line.rstrip() for line in printed.get().splitlines()]
    return "\n".join(lines)
