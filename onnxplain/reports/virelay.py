"""A project of ViRelAy, which shows pictures, maps and clusters in a browser.

Anders et al., "Software for Dataset-wide XAI: From Local Explanations to Global Insights with
Zennit, CoRelAy, and ViRelAy", arXiv:2106.13200, 2021. The layout of the files is that of ViRelAy's
database specification.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.jobs.extras import needed
from onnxplain.reports.analysis import Report
from onnxplain.reports.map_files import MapFile
from onnxplain.reports.pictures import picture_of
from onnxplain.results.formats.manifest import as_json
from onnxplain.results.formats.write import refused, write_files
from onnxplain.results.names import UniqueNames
from onnxplain.runtime.batching import Progress
from onnxplain.tensors import Array

FOLDER = "virelay"
LARGEST_SIDE = 256
"""Pictures and maps are made smaller until no side is longer, in pixels."""

_PROJECT, _LABELS = "project.yaml", "labels.json"
_PICTURES, _MAPS, _CLUSTERS = "pictures.h5", "maps.h5", "clusters.h5"
_PACKED = {"compression": "gzip"}
_ALL = "all classes"
_NO_LABEL = "not known"


def h5py_or_refuse() -> Any:
    """The package h5py.

    Raises:
        OptionError: it is not installed.
    """
    return needed("h5py", "A project of ViRelAy", extra="virelay")


def write_project(report: Report, folder: Path, progress: Progress) -> Path:
    """Write a project to a folder, which is created if missing; return the file to open.

    Pictures and maps are written one at a time. Files appear complete, the project last. Where the
    maps are too few for a projection, there are no clusters in it.

    Raises:
        OptionError: h5py is not installed.
        OnnxplainError: a map was deleted or damaged since the report was made.
        OutputError: the system refused to write.
    """
    labels = _labels(report.maps.files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / _PICTURES, partial(_add_pictures, report.maps.files, labels, progress))
        _write(folder / _MAPS, partial(_add_maps, report.maps.files, labels, progress))
        if report.projection is not None:
            _write(folder / _CLUSTERS, partial(_add_clusters, report, report.projection))
    except OSError as error:
        raise refused(folder, error) from error
    known = [{"index": i, "word_net_id": "", "name": name} for name, i in labels.items()]
    files = {_LABELS: as_json(known), _PROJECT: as_json(_project(report))}
    *_, project = write_files(folder, files)
    return project


def _write(path: Path, add: Callable[[Any], None]) -> None:
    """Write an HDF5 file; `add` gets it open."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with h5py_or_refuse().File(unfinished, "w") as file:
            add(file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _labels(files: Sequence[MapFile]) -> dict[str, int]:
    """Indices by class: those of the model, and others for what the model has no index for."""
    found = {one.class_name: one.class_index for one in files if one.class_index is not None}
    others = {one.class_name for one in files} | {_label(one) for one in files}
    free = 1 + max(found.values(), default=-1)
    new = sorted(others - found.keys())
    return found | dict(zip(new, range(free, free + len(new)), strict=True))


def _label(file: MapFile) -> str:
    return _NO_LABEL if file.label is None else file.label


def _add_pictures(
    files: Sequence[MapFile], labels: dict[str, int], progress: Progress, out: Any
) -> None:
    for key, file in _keyed(files, progress):
        picture = _small(picture_of(file.path, file.size))
        out.create_dataset(f"data/{key}", data=picture.transpose(2, 0, 1), **_PACKED)
        out[f"label/{key}"] = np.uint16(labels[_label(file)])


def _add_maps(
    files: Sequence[MapFile], labels: dict[str, int], progress: Progress, out: Any
) -> None:
    """The maps, signed, with the class that was explained, and 1 for the class that was predicted.

    The scores of the other classes are not kept by a job.
    """
    out["index"] = np.arange(len(files), dtype=np.uint32)
    for key, file in _keyed(files, progress):
        values = _small(file.values().astype(np.float32))
        out.create_dataset(f"attribution/{key}", data=values[None], **_PACKED)
        out[f"label/{key}"] = np.uint16(labels[file.class_name])
        predicted = np.arange(1 + max(labels.values())) == file.predicted
        out[f"prediction/{key}"] = predicted.astype(np.float32)


def _keyed(files: Sequence[MapFile], progress: Progress) -> Any:
    """The maps with names whose order is that of the maps."""
    for i, file in enumerate(files):
        progress(i + 1, len(files))
        yield f"{i:08d}", file


def _small(array: Array) -> Array:
    """A picture or a map, (rows, columns, ...), with no side longer than `LARGEST_SIDE`."""
    rows, columns = array.shape[:2]
    factor = min(1.0, LARGEST_SIDE / max(rows, columns))
    size = max(1, round(columns * factor)), max(1, round(rows * factor))
    return np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_AREA))


def _add_clusters(report: Report, projection: Array, out: Any) -> None:
    """For all maps and for each class, the maps that are in the projection, with their clusters."""
    names, place = UniqueNames(), np.full(len(report.maps.files), -1)
    place[report.projected] = np.arange(len(report.projected))
    for clustering in report.clusters:
        number = np.full(len(place), -1)
        for i, members in enumerate(clustering.members):
            number[members] = i
        index = np.flatnonzero((number >= 0) & (place >= 0))
        if not len(index):
            continue
        group = out.create_group(names.claim(clustering.class_name or _ALL))
        group["index"] = index.astype(np.uint32)
        group[f"embedding/{report.projection_kind}"] = projection[place[index]].astype(np.float32)
        group["cluster/spectral"] = number[index].astype(np.uint32)


def _project(report: Report) -> dict[str, Any]:
    """The project file: JSON, which is YAML, too."""
    of_label = all(one.class_name == one.label for one in report.maps.files)
    project: dict[str, Any] = {
        "name": f"{report.model}: {report.folder.name}",
        "model": report.model,
        "label_map": _LABELS,
        "dataset": {"name": report.folder.name, "type": "hdf5", "path": _PICTURES},
        "attributions": {
            "attribution_method": report.method,
            "attribution_strategy": "true_label" if of_label else "predicted_label",
            "sources": [_MAPS],
        },
    }
    if report.projection is not None:
        project["analyses"] = [{"analysis_method": "spectral clustering", "sources": [_CLUSTERS]}]
    return {"project": project}
