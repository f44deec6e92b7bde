"""What `--profile` writes and prints."""

from __future__ import annotations

from pathlib import Path

from onnxplain.cli.console import Console
from onnxplain.cli.tables import table_lines
from onnxplain.explainer import Explainer
from onnxplain.results.formats.manifest import as_json
from onnxplain.results.formats.write import write_files
from onnxplain.runtime.profile import Profile

_FILE = "profile.json"
_HEADINGS = "provider", "nodes", "share of nodes", "seconds", "share of time"


def report_profile(explainer: Explainer, folder: Path, console: Console) -> None:
    """Write which provider ran each node to a folder, and print the sums, if this was measured.

    Raises:
        OutputError: the file cannot be written.
    """
    if explainer.backend.profiler is None:
        return
    found = explainer.profile()
    (path,) = write_files(folder, {_FILE: as_json(found.to_dict())})
    for line in table_lines(_HEADINGS, _rows(found)):
        console.note(line)
    console.note(f"Each node: {path}.")


def _rows(found: Profile) -> list[tuple[str, ...]]:
    return [
        (
            one.provider,
            str(one.nodes),
            f"{one.share_of_nodes:.1%}",
            f"{one.milliseconds / 1000:.3g}",
            f"{one.share_of_time:.1%}",
        )
        for one in found.providers
    ]
