"""What must hold of the files and the messages that a run leaves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from onnxplain.errors import LONGEST
from onnxplain.jobs.results import Results
from onnxplain.jobs.table import read_table
from tools.faults.faults import OUT, Fault
from tools.faults.process import Ended

ORACLES = {
    "whole": "every file can be read",
    "sets": "the files of a picture are complete and of one run, or absent",
    "reported": "what was reported is there",
    "complete": "a run that succeeds has reported every picture once, and goes on with the others",
    "status": "the exit status is that of the fault",
    "message": f"one sentence of at most {LONGEST} characters, and no traceback",
    "temporary": "no temporary file is left",
    "again": "after kill -9 the same command succeeds",
}

_TEMPORARY = ".onnxplain-"
_INTERNAL = re.compile("Traceback|Exception ignored|Internal error|^Fatal|terminate called|Aborted")
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Finding:
    """What does not hold: a name in ORACLES, and what was seen."""

    oracle: str
    seen: str


def check(folder: Path, ended: Sequence[Ended], fault: Fault, pictures: int) -> list[Finding]:
    """Everything that does not hold after runs on so many pictures."""
    out = folder / OUT
    found = [*_whole(out), *_temporary(folder, fault)]
    found += [] if fault.loses else [*_sets(out, fault)]
    for one in ended:
        found += [*_reported(folder, one, fault), *_told(one, fault)]
    if len(ended) == 1 and ended[0].status == 0:
        found += _complete(ended[0].pictures, pictures)
    return found


def check_again(folder: Path, ended: Ended, pictures: int) -> list[Finding]:
    """What does not hold of a run without a fault, in a folder where one was killed."""
    found = [*_whole(folder / OUT), *_reported(folder, ended, None)]
    if ended.status:
        found.append(Finding("again", f"exit status {ended.status}: {ended.errors[-1:]}"))
    records = list(Results(folder / OUT))
    missing = [name for one in records for name in one.files if not (folder / OUT / name).exists()]
    if missing:
        found.append(Finding("reported", f"{missing[0]} is in the index and is not there"))
    return [*found, *_complete([one.input for one in records], pictures)]


def _files(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file())


def _whole(out: Path) -> Iterator[Finding]:
    for path in _files(out):
        if not path.name.startswith(_TEMPORARY):
            try:
                _read(path)
            except Exception as error:  # whatever a library says of a damaged file
                yield Finding("whole", f"{path.name}: {error!r}")


def _read(path: Path) -> None:
    match path.suffix:
        case ".npy":
            np.load(path)
        case ".png" | ".tiff":
            with Image.open(path) as picture:
                picture.load()
        case ".json":
            json.loads(path.read_text())
        case ".parquet":
            list(read_table(path))
        case ".jsonl":
            for line in path.read_text().splitlines():
                json.loads(line)
        case _:
            raise ValueError("no kind of file that is written")


def _temporary(folder: Path, fault: Fault) -> Iterator[Finding]:
    left = [path for path in _files(folder) if path.name.startswith(_TEMPORARY)]
    left += (folder / "tmp").glob("onnxplain*")
    if left and not fault.pieces:
        yield Finding("temporary", f"{len(left)} are left, such as {left[0].name}")


def _sets(out: Path, fault: Fault) -> Iterator[Finding]:
    """Each manifest describes the files of its set, and all sets have the same kinds of files."""
    listed: set[str] = set()
    for manifest in out.glob("*.json"):
        for name, facts in _listed(manifest):
            listed.add(name)
            path = out / name
            if not path.exists():
                yield Finding("sets", f"{manifest.name} lists {name}, which is not there")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
                yield Finding("sets", f"{name} is not the file that {manifest.name} describes")
    for path in _files(out):
        alone = path.suffix in (".npy", ".png", ".tiff") and path.name not in listed
        if alone and not fault.pieces:
            yield Finding("sets", f"{path.name} has no manifest")


def _listed(manifest: Path) -> list[tuple[str, dict[str, str]]]:
    try:
        files = json.loads(manifest.read_text())["files"]
    except (ValueError, KeyError):
        return []  # told by another oracle
    return [(one["name"], one) for one in files] if isinstance(files, list) else [*files.items()]


def _complete(reported: Sequence[str], pictures: int) -> Iterator[Finding]:
    if len(set(reported)) != pictures or len(reported) != pictures:
        yield Finding("complete", f"{len(set(reported))} of {pictures} pictures were reported")


def _reported(folder: Path, ended: Ended, fault: Fault | None) -> Iterator[Finding]:
    for line in ended.lines:
        try:
            facts = json.loads(line)
        except ValueError:
            yield Finding("message", f"standard output has a line that is no JSON: {line[:200]}")
            continue
        missing = [name for name in facts["files"] if not (folder / name).exists()]
        if missing and not (fault and fault.loses):
            yield Finding("reported", f"{missing[0]} was reported and is not there")


def _told(ended: Ended, fault: Fault) -> Iterator[Finding]:
    if ended.status is None:
        yield Finding("status", f"it hangs: {' / '.join(ended.errors)}")
        return
    if ended.status not in (0, *fault.statuses):
        yield Finding("status", f"{ended.status}: {' / '.join(ended.errors[-12:])}")
    lines = [_COLORS.sub("", line) for line in ended.errors]
    for line in lines:
        if _INTERNAL.search(line):
            yield Finding("message", " / ".join(lines[-40:]))
            return
        if len(line) > LONGEST + len("Error: "):
            yield Finding("message", f"{len(line)} characters: {line[:200]}")
    errors = [line for line in lines if line.startswith("Error: ")]
    if ended.status == 0 or fault.silent:
        if errors:
            yield Finding("message", f"status {ended.status}, and {errors[0]}")
    elif not 1 <= len(errors) <= fault.errors:
        yield Finding("message", f"{len(errors)} errors: {' / '.join(lines[-12:])}")
    elif not any(re.search(fault.says, line) for line in errors):
        yield Finding("message", f"it says {errors[-1]}")
