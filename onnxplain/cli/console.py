"""What the user reads: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from onnxplain.cli.flags import switches
from onnxplain.cli.other_names import instead_of
from onnxplain.errors import OnnxplainError
from onnxplain.visible import visible

Report = Callable[[int, int], None]

_INTERRUPTED = 128 + 2
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
            yield lambda done, total: None
            return
        from onnxplain.cli.progress import bar

        with bar(visible(title)) as report:
            yield report


def echo(line: str = "", *, err: bool = False) -> None:
    """Print one line, in which text from files may be: its control characters become visible."""
    typer.echo(visible(line), err=err)


def echo_json(facts: object, indent: int | None = None) -> None:
    """Print facts as JSON with their true text; the JSON itself is ASCII without controls."""
    typer.echo(json.dumps(facts, indent=indent))


def print_error(sentence: str) -> None:
    """One sentence about what went wrong."""
    typer.echo(f"{typer.style('Error:', fg='red', bold=True)} {visible(sentence)}", err=True)


def braced(files: Sequence[Path], stem: str) -> str:
    """Paths that differ only in what follows `stem`, as a shell takes them."""
    if len(files) == 1:
        return str(files[0])
    endings = ",".join(path.name.removeprefix(stem) for path in files)
    return str(files[0].with_name(f"{stem}{{{endings}}}"))


def report_failure(error: BaseException, debug: bool) -> int:
    """Say in one sentence why a command ended early, and return its exit status."""
    if isinstance(error, BrokenPipeError):
        # The reader of the output has ended: nothing can be printed, or flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    if debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            echo(line, err=True)
    sentence, status = _verdict(error)
    print_error(sentence)
    return status


def _verdict(error: BaseException) -> tuple[str, int]:
    """What to say about an error, and its exit status."""
    match error:
        case OnnxplainError():
            return str(error), error.exit_status
        case KeyboardInterrupt():
            return "Interrupted: what was finished is saved, the rest is not.", _INTERRUPTED
        case MemoryError():
            return "There is not enough memory: try a smaller picture, or --batch-size 1.", 1
    if isinstance(error, _USAGE_ERRORS):
        return _usage(error), 2
    return (
        f"Internal error, {type(error).__name__}: {error}. Please report it, with what the same "
        "command prints with --debug.",
        1,
    )


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
