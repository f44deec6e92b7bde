"""What must hold of each command line, whatever it was given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onnxplain.errors import LONGEST
from onnxplain.images.opencv import cv2
from tools.fuzz.case import BESIDE, GIVEN, OUT, Case
from tools.fuzz.run import SECRET, SECRETS, Ended

ENDS, OPENS, WRITES = "ends in a sentence", "opens no other file", "writes whole files"
"""Oracles of every command line."""

_ERROR = "Error: "
_LIMITED = re.compile(r"There is not enough memory|No more threads may be started")
_FOREIGN = re.compile(
    r"Traceback|Internal error|^\s+File \"|:\d+: \w*Warning|\[[EWF]:onnxruntime|Exception ignored"
)


class Verdict(NamedTuple):
    """What an oracle says: a finding, or an empty text."""

    oracle: str
    finding: str


def explained(ended: Ended) -> bool:
    """Whether a command line did what it was asked for."""
    return ended.status == 0


def reason(ended: Ended) -> str:
    """The error of a command line, without names and numbers, so that alike ones are counted."""
    sentence = next((line for line in _lines(ended.err) if line.startswith(_ERROR)), "")
    sentence = re.sub(r"(\.\./|/)\S+", "PATH", sentence.removeprefix(_ERROR))
    return re.sub(r"'[^']*'|\"[^\"]*\"|[-\d.,]*\d\w*|\([^)]*\)", "_", sentence)[:90]


def verdicts(case: Case, ended: Ended, folder: Path) -> Iterator[Verdict]:
    """Judge one command line of a case."""
    yield Verdict(ENDS, _ending(ended))
    yield Verdict(OPENS, _opened(ended))
    yield Verdict(WRITES, _written(case, ended, folder))


def _lines(text: str) -> list[str]:
    return text.split("\n")[:-1]


def _ending(ended: Ended) -> str:
    return next(filter(None, _complaints(ended)), "")


def _complaints(ended: Ended) -> Iterator[str]:
    """What is wrong with the output of a command line, or an empty text."""
    said = _lines(ended.err)
    yield from (f"no sentence: {line[:600]}" for line in said if _FOREIGN.search(line))
    for line in said:
        if len(line) > LONGEST + len(_ERROR):
            yield f"a line of {len(line)} characters: {line[:200]}"
    if not (ended.err + ended.out).replace("\n", "").isprintable():
        yield f"characters that cannot be printed: {ended.err[:300]!r} {ended.out[:300]!r}"
    errors = [line for line in said if line.startswith(_ERROR)]
    yield from (f"an unfinished sentence: {one}" for one in errors if not one.endswith((".", "?")))
    if ended.status == 0:
        yield f"an error, and exit status 0: {errors[0]}" if errors else _json(ended)
        return
    # A file of several samples has an error for each.
    if not errors or (len(errors) > 1 and ", sample " not in errors[0]):
        yield f"exit status {ended.status} with {len(errors)} errors: {ended.err[:600]}"
    elif ended.status != 2 and not (ended.status == 1 and _LIMITED.search(errors[0])):
        yield f"exit status {ended.status}: {errors[0]}"


def _json(ended: Ended) -> str:
    if "--json" not in ended.arguments:
        return ""
    whole = [ended.out] if ended.arguments[0] == "inspect" else _lines(ended.out)
    try:
        for text in whole:
            json.loads(text)
    except ValueError:
        return f"no JSON: {ended.out[:300]}"
    return "" if whole else "no JSON"


def _opened(ended: Ended) -> str:
    if ended.opened:
        return f"opened {', '.join(ended.opened[:3])}"
    return f"told {SECRET}" if SECRET in ended.out + ended.err else ""


def _written(case: Case, ended: Ended, folder: Path) -> str:
    return next(filter(None, _misplaced(case, ended, folder)), "")


def _misplaced(case: Case, ended: Ended, folder: Path) -> Iterator[str]:
    """Check that exactly the reported files are there, whole, and nothing else is changed."""
    given = {path.name for path in (folder / GIVEN).iterdir()}
    top = {name.split("/")[0] for name in (*case.files, *case.links, *case.pipes)}
    if given != top:
        yield f"changed the given folder: {sorted(given ^ top)}"
    beside = {path.name for path in (folder / BESIDE).iterdir()}
    if beside != set(SECRETS):
        yield f"changed the working folder: {sorted(beside ^ set(SECRETS))}"
    if ended.arguments[0] != "run":
        return
    there = {path.name for path in (folder / OUT).iterdir()} - {"exported.onnx"}
    if ended.status:
        yield f"failed and left {sorted(there)}" if there else ""
        return
    files = [name for line in _lines(ended.out) for name in json.loads(line)["files"]]
    if len(files) != len(set(files)):
        yield f"reported a file twice: {files}"
    reported = {Path(name).name for name in files}
    if reported != there:
        yield f"reported {sorted(reported)} and wrote {sorted(there)}"
    yield from (f"{name} is not whole" for name in there if not _is_whole(folder / OUT / name))


def _is_whole(path: Path) -> bool:
    try:
        return _can_be_read(path)
    except ValueError:  # of numpy and json
        return False


def _can_be_read(path: Path) -> bool:
    content = path.read_bytes()
    match path.suffix:
        case ".npy":
            return bool(np.isfinite(np.load(path)).all())
        case ".json":
            return isinstance(json.loads(content), dict)
        case ".png":
            return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is not None
        case _:
            return bool(content)
