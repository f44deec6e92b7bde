"""What a job is: the facts that decide whether a run goes on with the job of a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxplain.errors import OnnxplainError, ResultsError, attempted
from onnxplain.explainer import Explainer
from onnxplain.images.preprocess import Preprocess
from onnxplain.methods.registry import AUTO
from onnxplain.regular_files import read_regular
from onnxplain.results.formats.manifest import as_json, plain
from onnxplain.results.formats.write import write_files
from onnxplain.versions import versions

JOB = "job.json"
_VERSION = 1
_MOST_BYTES = 1 << 24

_SAME: Mapping[str, str] = {
    "model": "model",
    "method": "method",
    "options": "options",
    "targets": "targets",
    "outputs": "outputs",
    "settings": "settings",
    "preprocess": "preprocessing",
    "formats": "formats",
    "colormap": "colormap",
    "shards": "number of shards",
}
"""The facts that two runs of one job have in common, and what they are called."""


def describe(
    explainers: Sequence[Explainer],
    *,
    method: str,
    options: Mapping[str, Any],
    targets: Sequence[str],
    settings: Mapping[str, Any],
    formats: Sequence[str],
    colormap: str,
    shards: int | None,
) -> dict[str, Any]:
    """The facts of a job, in JSON types.

    `settings` are those of the model that change its results, and `shards` is the number of parts
    into which the inputs are divided; None if they are not.
    """
    first = explainers[0]
    model = first.whole_model
    return {
        "onnxplain": {"job": _VERSION, "version": versions()["onnxplain"]},
        "model": {
            "file": model.path and model.path.name,
            "sha256": model.sha256,
            "opset": model.opset,
            "input": first.input.name,
            "outputs": [spec.name for spec in model.outputs],
        },
        "method": method,
        "explained_by": {},
        "options": plain(options),
        "targets": list(targets),
        "outputs": [explainer.output for explainer in explainers],
        "settings": plain(settings),
        "preprocess": plain(_preprocess(first)),
        "spatial": list(first.scene(first.trial).spatial),
        "formats": list(formats),
        "colormap": colormap,
        "shards": shards,
        "working_folder": str(Path.cwd()),
    }


def _preprocess(explainer: Explainer) -> Mapping[str, Any]:
    """How pictures become the input; of arrays only where their settings come from."""
    found: Preprocess | OnnxplainError = attempted(lambda: explainer.preprocess)
    return {"origin": explainer.origin} if isinstance(found, OnnxplainError) else found.to_dict()


def read_description(folder: Path) -> dict[str, Any] | None:
    """The facts of the job of a folder; None if it has none.

    Raises:
        ResultsError: they cannot be read, or a newer onnxplain wrote them.
    """
    path = folder / JOB
    try:
        found = json.loads(read_regular(path, _MOST_BYTES))
        version = found["onnxplain"]["job"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError):
        raise ResultsError(f"{path} does not describe a job: name another --out.") from None
    if version != _VERSION:
        raise ResultsError(
            f"{path} has version {version}, and this onnxplain reads {_VERSION}: use the onnxplain "
            "that wrote it, or name another --out."
        )
    return dict(found)


def write_description(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts of a job to its folder."""
    write_files(folder, {JOB: as_json(facts)})


def check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a run goes on with the job of a folder.

    Raises:
        ResultsError: it is another job; the message says what differs.
    """
    for key, name in _SAME.items():
        old, new = _compared(key, before.get(key)), _compared(key, now[key])
        if old != new:
            there, here = _apart(old, new)
            raise ResultsError(
                f"{folder} holds another job, which differs in the {name}: {there} there, and "
                f"{here} here; name another --out, or add --no-resume to explain without an index."
            )


def _compared(key: str, value: Any) -> Any:
    """A fact without what may differ: the name of a model's file, and where settings come from."""
    if key == "model":
        return {"sha256": value["sha256"]}
    if key == "preprocess":
        return {name: one for name, one in value.items() if name != "origin"}
    return value


def _apart(old: Any, new: Any) -> tuple[str, str]:
    """Two facts in words; of two tables only what differs."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return _in_words(old), _in_words(new)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    pair = ({name: table.get(name) for name in names} for table in (old, new))
    there, here = (", ".join(f"{k} {_in_words(v)}" for k, v in table.items()) for table in pair)
    return there, here


def _in_words(value: Any) -> str:
    match value:
        case None:
            return "not given"
        case list():
            return ",".join(map(_in_words, value)) or "none"
        case str():
            return value[:_LONGEST]
        case _:
            return json.dumps(value)[:_LONGEST]


_LONGEST = 60


def method_of(facts: Mapping[str, Any], output: str | None) -> str | None:
    """The method that "auto" meant for an output; None if it is not known yet."""
    found = facts["explained_by"].get(output or "")
    return None if found is None else str(found)


def is_auto(facts: Mapping[str, Any]) -> bool:
    """Whether the method was chosen automatically."""
    return bool(facts["method"] == AUTO)
