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
from tools.fuzz.run import SECRET, Ended

ENDS, OPENS, WRITES = "ends in a sentence", "opens no other file", "writes whole files"
"""Oracles of every command line."""

_ERROR = "Error: "
_BEGINNINGS = ("Note: ", "Warning: ", "Method: ", "Layer: ", "Preprocessing: ", "Ran on ")
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
    yield Verdict(ENDS, _ending(case, ended))
    yield Verdict(OPENS, _opened(ended))
    yield Verdict(WRITES, _written(case, ended, folder))


def _lines(text: str) -> list[str]:
    return text.split("\n")[:-1]


def _ending(case: Case, ended: Ended) -> str:
    foreign = next((line for line in _lines(ended.err) if _FOREIGN.search(line)), None)
    if foreign is not None:
        return f"no sentence: {foreign[:600]}"
    long = next((line for line in _lines(ended.err) if len(line) > LONGEST + len(_ERROR)), None)
    if long is not None:
        return f"a line of {len(long)} characters: {long[:200]}"
    if not (ended.err + ended.out).replace("\n", "").isprintable():
        return f"characters that cannot be printed: {ended.err[:300]!r} {ended.out[:300]!r}"
    errors = [line for line in _lines(ended.err) if line.startswith(_ERROR)]
    if ended.status == 0:
        return f"an error, and exit status 0: {errors[0]}" if errors else _json(ended)
    if len(errors) != 1:
        return f"exit status {ended.status} with {len(errors)} errors: {ended.err[:600]}"
    if not errors[0].endswith((".", "?")):
        return f"an unfinished sentence: {errors[0]}"
    if ended.status == 2 or (ended.status == 1 and _LIMITED.search(errors[0])):
        return ""
    return f"exit status {ended.status}: {errors[0]}"


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
    """Check that exactly the reported files are there, whole, and nothing else is changed."""
    given = {path.name for path in (folder / GIVEN).iterdir()}
    top = {name.split("/")[0] for name in (*case.files, *case.links, *case.pipes)}
    if given != top:
        return f"changed the given folder: {sorted(given ^ top)}"
    if len(list((folder / BESIDE).iterdir())) != 3:
        return f"wrote to the working folder: {[p.name for p in (folder / BESIDE).iterdir()]}"
    there = {path.name for path in (folder / OUT).iterdir() if path.name != "exported.onnx"}
    if ended.arguments[0] != "run":
        return ""
    if ended.status:
        return f"failed and left {sorted(there)}" if there else ""
    files = [name for line in _lines(ended.out) for name in json.loads(line)["files"]]
    reported = {Path(name).name for name in files}
    if len(files) != len(reported):
        return f"reported a file twice: {files}"
    if reported != there:
        return f"reported {sorted(reported)} and wrote {sorted(there)}"
    broken = (f"{name} is not whole" for name in there if not _is_whole(folder / OUT / name))
    return next(broken, "")


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
