"""What the user reads: results on standard output, everything else on standard error."""

from __future__ import annotations

import errno
import json
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import typer

from onnxplain.cli.flags import switches
from onnxplain.cli.other_names import instead_of
from onnxplain.cli.signals import status_of
from onnxplain.cli.streams import can_write_results, drop_output, write_error
from onnxplain.errors import OnnxplainError, in_one_line, limit_reached
from onnxplain.visible import visible


class Report(Protocol):
    """Called with the number that is done, that of all if it is known, and that of failures."""

    def __call__(self, done: int, total: int | None, failed: int = 0) -> None:
        """Show the new state; 0 done begins anew."""


_BROKEN_PIPE = 128 + 13


@dataclass(frozen=True, kw_only=True)
class Console:
    """Prints for one command."""

    quiet: bool
    as_json: bool
    verbose: bool = False

    def result(self, line: str) -> None:
        """A line of the results."""
        if self.as_json or not self.quiet:
            echo(line)

    def note(self, sentence: str) -> None:
        """A note or a warning."""
        if not self.quiet:
            echo(sentence, err=True)

    def detail(self, sentence: str) -> None:
        """A sentence that only `--verbose` prints."""
        if self.verbose:
            echo(sentence, err=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Report]:
        """A bar on a terminal; what it yields is called with the samples done and their total."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total, failed=0: None
            return
        from onnxplain.cli.progress import bar

        with bar(visible(title)) as report:
            yield report


def echo(line: str = "", *, err: bool = False) -> None:
    """Print one line, in which text from files may be: its control characters become visible."""
    if err:
        write_error(in_one_line(line))
    else:
        typer.echo(visible(line))


def echo_json(facts: object, indent: int | None = None) -> None:
    """Print facts as JSON with their true text; the JSON itself is ASCII without controls."""
    typer.echo(json.dumps(facts, indent=indent))


def print_error(sentence: str) -> None:
    """One sentence about what went wrong."""
    write_error(f"{typer.style('Error:', fg='red', bold=True)} {in_one_line(sentence)}")


def braced(files: Sequence[Path], stem: str) -> str:
    """Paths that differ only in what follows `stem`, as a shell takes them."""
    if len(files) == 1:
        return str(files[0])
    endings = ",".join(path.name.removeprefix(stem) for path in files)
    return str(files[0].with_name(f"{stem}{{{endings}}}"))


def report_failure(error: BaseException, debug: bool) -> int:
    """Say in one sentence why a command ended early, and return its exit status."""
    if isinstance(error, BrokenPipeError):
        drop_output()
        return _BROKEN_PIPE
    if debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            echo(line, err=True)
    sentence, status = _verdict(error)
    print_error(sentence)
    if not can_write_results():
        drop_output()
    return status


def _verdict(error: BaseException) -> tuple[str, int]:
    """What to say about an error, and its exit status."""
    match error:
        case OnnxplainError():
            return str(error), error.exit_status
        case KeyboardInterrupt():
            return "Interrupted: what was finished is saved, the rest is not.", status_of(error)
        case _ if limit := limit_reached(error):
            return limit, 1
    if isinstance(error, _USAGE_ERRORS):
        return _usage(error), 2
    if isinstance(error, OSError):
        return _of_system(error), 1
    return (
        f"Internal error, {type(error).__name__}: {error}. Please report it, with what the same "
        "command prints with --debug.",
        1,
    )


def _of_system(error: OSError) -> str:
    """What to say about an error of the operating system that no other place has expected."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename} cannot be used: {reason}."
    if error.errno in _OF_WRITING:
        drop_output()
        return (
            f"The results cannot be written to standard output ({reason}): free some space, or "
            "send them to another place."
        )
    return f"The working folder cannot be used ({reason}): go to a folder that exists."


_OF_WRITING = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC}
"""Errors of a write. Those of files name the file, and are told where it is written."""


# Every mistake in the use of a command; typer exports no more than this one kind of them.
_USAGE_ERRORS = typer.BadParameter.__bases__


def _usage(error: Any) -> str:
    command = error.ctx.command_path if error.ctx else "onnxplain"
    message = error.format_message()
    switch = re.search(r"Option '--(no-)?(\S+)' does not take a value", message)
    if switch and switch[2].replace("-", "_") in switches():
        return f"--{switch[2]} takes no value: write --{switch[2]} or --no-{switch[2]}."
    instead = instead_of(error)
    if instead:
        return f"No such option: {error.option_name} ({instead}). See `{command} --help`."
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} See `{command} --help`."
