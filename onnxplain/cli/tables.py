"""Tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNLIMITED = 100_000


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print to standard output: wrapped on a terminal, one line a row where a program reads."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else _UNLIMITED).print(table)
