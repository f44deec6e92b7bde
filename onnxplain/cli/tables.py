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
    # The text of cells is safe already, and the headings may be bold.
    typer.echo("\n".join(table_lines(headings, rows, width_now, heading_style="bold")))


def table_lines(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    width: int | None = _UNLIMITED,
    heading_style: str = "",
) -> list[str]:
    """The lines of a table wrapped at `width` characters, None for that of the terminal.

    Control characters in cells become visible.
    """
    table = Table(box=None, pad_edge=False, header_style=heading_style)
    for heading in headings:
        table.add_column(Text(visible(heading)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = Console(width=width)
    with console.capture() as printed:
        console.print(table)
    return [line.rstrip() for line in printed.get().splitlines()]
