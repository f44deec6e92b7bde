"""The standard streams, which a caller may have closed, and which may be full."""

from __future__ import annotations

import os
import sys

import typer

_STREAMS = (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY))
"""By descriptor. What is opened for reading refuses what is written: results would be lost."""


def open_closed_streams() -> None:
    """Give each standard stream that is closed a descriptor, before other files get its number.

    Messages to a closed standard error are dropped. Results cannot be written to a closed standard
    output: that is an OSError.
    """
    for descriptor, (name, flags) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            try:
                os.fstat(descriptor)
            except OSError:
                os.open(os.devnull, flags)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115


def can_write_results() -> bool:
    """Whether what was printed has reached standard output."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def drop_output() -> None:
    """Let nothing more be written to standard output, also by Python when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_error(text: str) -> None:
    """Write a line to standard error; it is dropped where nothing can be written there."""
    try:
        typer.echo(text, err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
