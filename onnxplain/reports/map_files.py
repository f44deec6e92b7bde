"""The maps in a folder that `onnxplain run` wrote, each on the pixels of its picture.

The folder of a job has an index, and its maps may be in shards. Another folder has manifests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.errors import OptionError, PictureError
from onnxplain.images.array_files import read_npy
from onnxplain.images.geometry import Placement
from onnxplain.images.preprocess import Preprocess
from onnxplain.jobs.description import JOB
from onnxplain.jobs.records import Record
from onnxplain.jobs.results import Results
from onnxplain.reports.places import evidence
from onnxplain.tensors import Array, FloatArray

_VALUES, _HEATMAP, _MANIFEST = ".npy", ".heatmap.npy", ".json"
_NO_PICTURE = "it is no map of a picture"


@dataclass(frozen=True, kw_only=True)
class MapFile:
    """One map of a folder, and what is known of it.

    Attributes:
        id: the name of the result in the folder.
        input: the picture's path, as it was given, and `path` where it is now.
        class_name: what was explained.
        class_index: its index; None for what is no class.
        score: of what was explained; None if it is not known.
        score_kind: what the score is.
        method: how the map was made.
        placement: where the picture's pixels are in the model's input.
        label: the name of the true class, if it is known.
        predicted: the index of the class with the largest score; None if it is not known.
        values: reads the map's values on the picture, (rows, columns).
    """

    id: str
    input: str
    path: Path
    class_name: str
    class_index: int | None
    score: float | None
    score_kind: str
    method: str
    placement: Placement = field(repr=False)
    label: str | None
    predicted: int | None
    values: Callable[[], FloatArray] = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.placement.picture

    @property
    def seen(self) -> tuple[slice, slice]:
        """The rows and columns of the picture of which the model saw at least a part."""
        return self.placement.seen(0), self.placement.seen(1)

    def heat(self) -> FloatArray:
        """The evidence for the class on the picture, (rows, columns), 0 and more; see `evidence`.

        Raises:
            OnnxplainError: the files of the map are missing or damaged.
        """
        return evidence(self.values(), self.method)


@dataclass(frozen=True)
class Folder:
    """The maps of a folder.

    Attributes:
        path: the folder.
        model: the name of the model's file, or the start of its hash.
        sha256: of the model, in hexadecimal.
        layers: what the maps are of; empty if it is not known, or the input.
        maps: the maps of one method.
        left_out: why other results are left out, and how many.
    """

    path: Path
    model: str
    sha256: str
    layers: Sequence[str]
    maps: Sequence[MapFile]
    left_out: Mapping[str, int]


def read_folder(folder: Path, method: str | None = None) -> Folder:
    """Find the maps of pictures that a job, or several runs, left in a folder.

    Raises:
        OptionError: there is no map, or there are maps of several methods, models or outputs and
            `method` does not choose.
        ResultsError: the index of a job is damaged.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder: name the one that `onnxplain run --out` wrote.")
    read = _read_job if (folder / JOB).exists() else _read_manifests
    found = read(folder, method)
    if not found.maps:
        of = f" of {method}" if method else ""
        raise OptionError(
            f"{folder} holds no maps of pictures{of}: name a folder that `onnxplain run --out` "
            "wrote, with the formats npy and json, or map16."
        )
    _require_one(folder, "methods", {one.method for one in found.maps}, "choose with --method")
    return found


def _require_one(folder: Path, what: str, names: Collection[str], advice: str) -> None:
    if len(names) > 1:
        raise OptionError(
            f"{folder} holds maps of several {what} ({', '.join(sorted(names))}), and a report is "
            f"of one: {advice}."
        )


_OWN_FOLDER = "give each a folder of its own"


def _read_job(folder: Path, method: str | None) -> Folder:
    results = Results(folder)
    job = results.job
    left_out: Counter[str] = Counter()
    records = list[Record]()
    for record in results:
        if record.error is not None:
            left_out[record.error] += 1
        elif "layout" not in job["preprocess"] or record.size is None or len(record.size) != 2:
            left_out[_NO_PICTURE] += 1
        elif method in (None, results.method_of(record).name):
            records.append(record)
    _require_one(folder, "outputs", {str(one.output) for one in records}, _OWN_FOLDER)
    preprocess, working = job.get("preprocess", {}), Path(job["working_folder"])
    maps = [_of_record(results, record, preprocess, working) for record in records]
    model = job["model"]
    layers = _layers_of(results, records[0]) if records else ()
    sha256 = model["sha256"]
    return Folder(folder, model["file"] or sha256[:12], sha256, layers, maps, left_out)


def _of_record(
    results: Results, record: Record, preprocess: Mapping[str, Any], working: Path
) -> MapFile:
    rows, columns = record.size or (0, 0)
    placement = Preprocess.from_dict(preprocess).place((rows, columns))
    path = Path(record.input)
    return MapFile(
        id=record.id,
        input=record.input,
        path=path if path.exists() else working / path,
        class_name=record.class_name or str(record.target),
        class_index=record.class_index,
        score=record.score,
        score_kind=record.score_kind or "",
        method=results.method_of(record).name,
        placement=placement,
        label=record.label,
        predicted=record.predicted,
        values=partial(_values_of_record, results, record, placement),
    )


def _values_of_record(results: Results, record: Record, placement: Placement) -> FloatArray:
    manifest = _manifest_of(results, record)
    if record.map is None and manifest is not None:
        heatmap = manifest.with_suffix(_HEATMAP)
        if heatmap.exists():
            return _from_heatmap(heatmap, _manifest(manifest) or {})
    (grid,) = results.maps([record])
    return _on_picture(grid, placement)


def _layers_of(results: Results, record: Record) -> Sequence[str]:
    """The layers that a map is of, or the one that was named for all."""
    manifest = _manifest_of(results, record)
    if record.map is not None:
        return tuple(results.kept(record).facts["layers"])
    if manifest is not None:
        return tuple((_manifest(manifest) or {}).get("layers", ()))
    layer = results.job["options"].get("layer")
    return (layer,) if isinstance(layer, str) else ()


def _manifest_of(results: Results, record: Record) -> Path | None:
    name = next((file for file in record.files if file.endswith(_MANIFEST)), None)
    return None if name is None else results.inside(name)


def _read_manifests(folder: Path, method: str | None) -> Folder:
    left_out: Counter[str] = Counter()
    maps, models, layers = list[MapFile](), dict[str, str](), list[Sequence[str]]()
    for path in sorted(folder.rglob(f"*{_MANIFEST}")):
        facts = _manifest(path)
        if facts is None or method not in (None, facts["method"]):
            continue
        try:
            if facts.get("picture", {}).get("path") is None:
                left_out[_NO_PICTURE] += 1
                continue
            maps.append(_of_manifest(path, folder, facts))
            layers.append(tuple(facts["layers"]))
            model = facts["model"]
            models[model["sha256"]] = Path(model["path"] or model["sha256"][:12]).name
        except (KeyError, TypeError, ValueError, AttributeError):
            left_out["its manifest is damaged"] += 1
    _require_one(folder, "models", [sha256[:12] for sha256 in models], _OWN_FOLDER)
    sha256, model = next(iter(models.items()), ("", ""))
    return Folder(folder, model, sha256, layers[0] if layers else (), maps, left_out)


def _manifest(path: Path) -> dict[str, Any] | None:
    """The content of a manifest; None for another JSON file."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    is_one = isinstance(facts, dict) and isinstance(facts.get("onnxplain"), dict)
    return facts if is_one and "manifest" in facts["onnxplain"] and "method" in facts else None


def _of_manifest(path: Path, folder: Path, facts: Mapping[str, Any]) -> MapFile:
    target, picture, score = facts["target"], facts["picture"], facts["score"]
    placement = Preprocess.from_dict(facts["preprocess"]).place(
        (picture["height"], picture["width"])
    )
    place = Path(picture["path"])
    return MapFile(
        id=path.relative_to(folder).with_suffix("").as_posix(),
        input=picture["path"],
        path=place,
        class_name=target["label"] or target["name"],
        class_index=target["index"],
        score=score["value"],
        score_kind=score["kind"],
        method=facts["method"],
        placement=placement,
        label=place.parent.name or None,
        predicted=None,
        values=partial(_values_of_manifest, path, facts, placement),
    )


def _values_of_manifest(path: Path, facts: Mapping[str, Any], placement: Placement) -> FloatArray:
    heatmap = path.with_suffix(_HEATMAP)
    if heatmap.exists():
        return _from_heatmap(heatmap, facts)
    values = _read(path.with_suffix(_VALUES))
    if values.ndim != 2:
        raise PictureError(
            f"The raw values of {path} have the shape {values.shape}, and are no map of the "
            "picture: run it again with the format heatmap."
        )
    return _on_picture(values, placement)


def _from_heatmap(path: Path, facts: Mapping[str, Any]) -> FloatArray:
    low, high = facts["heatmap"]["range"]
    values: FloatArray = np.float32(low) + np.float32(high - low) * _read(path)
    return values


def _on_picture(grid: Array, placement: Placement) -> FloatArray:
    if not np.isfinite(grid).all():
        raise PictureError("A map has values that are not finite.")
    return placement.on_canvas(placement.on_seen(grid))


def _read(path: Path) -> FloatArray:
    values = np.asarray(read_npy(path), np.float32)
    if not np.isfinite(values).all():
        raise PictureError(f"{path} has values that are not finite.")
    return values
