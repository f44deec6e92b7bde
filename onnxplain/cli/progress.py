"""A progress bar with rate and time left. Imported only where there is a terminal to draw it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from onnxplain.cli.console import Report


class Rate(ProgressColumn):
    """Forward passes, or inputs, per second."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


@contextmanager
def bar(title: str) -> Iterator[Report]:
    """Draw on standard error until the block ends, then remove the bar."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, visible=False, failed="")

        def report(done: int, total: int | None, failed: int = 0) -> None:
            if done == 0:
                progress.reset(task, total=total, visible=True)
            progress.update(task, completed=done, failed=f"{failed:,} failed" if failed else "")

        yield report
