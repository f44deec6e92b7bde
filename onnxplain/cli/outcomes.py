"""What a command prints about a picture that is done, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from onnxplain.cli.console import Console, braced, print_error
from onnxplain.cli.notes import Warnings, note_details, print_picture_error
from onnxplain.jobs.job import Outcome
from onnxplain.results.explanation import Explanation
from onnxplain.results.formats.manifest import content, plain, source
from onnxplain.results.formats.stem import file_stem


def report(outcome: Outcome, warnings: Warnings, console: Console, of: str = "") -> int:
    """Report a picture that is done, and return its exit status; errors begin with `of`."""
    status = 0
    for explanation, files in outcome.saved:
        line = _as_json if console.as_json else _as_line
        console.result(line(explanation, files, outcome.image.name))
        warnings.note(explanation)
        note_details(explanation, console)
    for nothing in outcome.empty:
        print_error(f"{of}{outcome.image.source}: {nothing}")
        status = nothing.exit_status
    if outcome.error is not None:
        print_picture_error(outcome.error, outcome.image, of)
        status = outcome.error.exit_status
    return status


def _as_line(explanation: Explanation, files: Sequence[Path], name: str) -> str:
    """The picture, what was explained, and its files."""
    facts = [
        f"{explanation.source}: {explanation.target.listed}",
        explanation.scored,
        explanation.looked_at if explanation.layers else "",
    ]
    saved = braced(files, file_stem(explanation, name))
    return f"{', '.join(filter(None, facts))} -> {saved}"


def _as_json(explanation: Explanation, files: Sequence[Path], name: str) -> str:
    """One line of JSON; names and nesting are those of the manifest, of which it is a part."""
    manifest = plain(content(explanation, {}))
    kept = "method", "layers", "target", "score", "provider", "batching"
    given = {name: plain(facts["path"]) for name, facts in source(explanation).items()}
    facts = {**given, **{key: manifest[key] for key in kept}}
    return json.dumps(facts | {"files": [str(path) for path in files]})
