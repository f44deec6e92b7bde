"""What a command prints about a picture that is done, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from onnxplain.cli.console import Console, braced, print_error
from onnxplain.cli.notes import Warnings, note_details, print_picture_error
from onnxplain.jobs.job import Outcome
from onnxplain.jobs.records import MapPlace
from onnxplain.results.data import MapData
from onnxplain.results.formats.manifest import of_execution, of_map, plain, source
from onnxplain.results.formats.stem import file_stem


def report(outcome: Outcome, warnings: Warnings, console: Console, of: str = "") -> int:
    """Report a picture that is done, and return its exit status; errors begin with `of`."""
    status = 0
    places: Sequence[MapPlace | None] = outcome.places or [None] * len(outcome.saved)
    for (explanation, files), place in zip(outcome.saved, places, strict=True):
        line = _as_json if console.as_json else _as_line
        console.result(line(explanation, files, outcome.image.name, place))
        warnings.note(explanation)
        note_details(explanation, console)
    for nothing in outcome.empty:
        print_error(f"{of}{outcome.image.source}: {nothing}")
        status = nothing.exit_status
    if outcome.error is not None:
        print_picture_error(outcome.error, outcome.image, of)
        status = outcome.error.exit_status
    return status


def _as_line(explanation: MapData, files: Sequence[Path], name: str, place: MapPlace | None) -> str:
    """The picture, what was explained, its files, and the place of its map."""
    facts = [
        f"{explanation.source}: {explanation.target.listed}",
        explanation.scored,
        explanation.looked_at if explanation.layers else "",
    ]
    saved = [braced(files, file_stem(explanation, name))] if files else []
    saved += [f"{place.shard}, row {place.row}"] if place is not None else []
    return f"{', '.join(filter(None, facts))} -> {' and '.join(saved)}"


def _as_json(explanation: MapData, files: Sequence[Path], name: str, place: MapPlace | None) -> str:
    """One line of JSON; names and nesting are those of the manifest, of which it is a part."""
    given = {name: plain(facts["path"]) for name, facts in source(explanation).items()}
    ran = of_execution(explanation.provenance)
    how = {key: ran[key] for key in ("provider", "batching")}
    facts = {**given, **plain(of_map(explanation) | how)}
    kept_in = {} if place is None else {"map": asdict(place)}
    return json.dumps(facts | {"files": [str(path) for path in files]} | kept_in)
