"""The maps in a folder that `onnxplain run` wrote, each on the pixels of its picture."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.errors import OptionError, PictureError
from onnxplain.images.array_files import read_npy
from onnxplain.images.geometry import Placement
from onnxplain.images.preprocess import Preprocess
from onnxplain.reports.places import evidence
from onnxplain.tensors import Array, FloatArray

_VALUES, _HEATMAP = ".npy", ".heatmap.npy"


@dataclass(frozen=True)
class MapFile:
    """One map of a folder, and what its manifest says.

    Attributes:
        id: the path of its manifest below the folder, without the ending.
        input: the picture's path, as it was given.
        size: rows and columns of the picture.
        class_name, class_index: what was explained; None for the index of what is no class.
        label: the name of the picture's folder, if it is the name of a class that was explained.
        score, score_kind: of what was explained.
        method, layers: how the map was made.
        stem: the path of its files without endings.
        heatmap_range: the raw values that heat 0 and 1 represent.
        preprocess: how the picture became the model's input.
    """

    id: str
    input: str
    size: tuple[int, int]
    class_name: str
    class_index: int | None
    score: float
    score_kind: str
    method: str
    layers: tuple[str, ...]
    stem: Path = field(repr=False)
    heatmap_range: tuple[float, float] = field(repr=False)
    preprocess: Mapping[str, Any] = field(repr=False)
    label: str | None = None

    @property
    def placement(self) -> Placement:
        """Where the picture's pixels are in the model's input."""
        return Preprocess.from_dict(self.preprocess).place(self.size)

    def heat(self) -> FloatArray:
        """The evidence for the class on the picture, (rows, columns), 0 and more; see `evidence`.

        Raises:
            PictureError: the files of the map are missing or damaged.
        """
        return evidence(self._values(), self.method)

    def seen(self) -> tuple[slice, slice]:
        """The rows and columns of the picture of which the model saw at least a part."""
        return self.placement.seen(0), self.placement.seen(1)

    def _values(self) -> FloatArray:
        heatmap = self.stem.with_name(self.stem.name + _HEATMAP)
        if heatmap.exists():
            low, high = self.heatmap_range
            on_picture: FloatArray = np.float32(low) + np.float32(high - low) * _read(heatmap)
            return on_picture
        values = _read(self.stem.with_name(self.stem.name + _VALUES))
        if values.ndim != 2:
            raise PictureError(
                f"{self.id} has raw values of the shape {values.shape}, which are no map of the "
                "picture: run it again with the format heatmap."
            )
        return self.placement.on_canvas(self.placement.on_seen(values))


@dataclass(frozen=True)
class Folder:
    """The maps of a folder, and why other results in it are left out: reasons and their numbers."""

    path: Path
    maps: Sequence[MapFile]
    left_out: Mapping[str, int]
    model: str
    model_path: str | None


def read_folder(folder: Path, method: str | None = None) -> Folder:
    """Find the maps of pictures in a folder and the folders below it.

    Raises:
        OptionError: there is no map, or there are maps of several methods or models and `method`
            does not choose.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder: name the one that `onnxplain run --out` wrote.")
    left_out: Counter[str] = Counter()
    found = dict[Path, dict[str, Any]]()
    for path in sorted(folder.rglob("*.json")):
        facts = _manifest(path)
        if facts is None:
            continue
        if method is not None and facts["method"] != method:
            continue
        if facts.get("picture", {}).get("path") is None:
            left_out["it is no map of a picture"] += 1
            continue
        found[path] = facts
    if not found:
        of = f" of {method}" if method else ""
        raise OptionError(
            f"{folder} holds no maps of pictures{of}: name a folder that `onnxplain run --out` "
            "wrote, with the format json and heatmap."
        )
    _require_one(folder, "methods", {f["method"] for f in found.values()}, "choose with --method")
    _require_one(
        folder,
        "models",
        {f["model"]["sha256"][:12] for f in found.values()},
        "give each a folder of its own",
    )
    first = next(iter(found.values()))
    maps = [_map_file(path, folder, facts) for path, facts in found.items()]
    path = first["model"]["path"]
    name = Path(path).name if path else first["model"]["sha256"][:12]
    return Folder(folder, _with_labels(maps), left_out, name, path)


def _require_one(folder: Path, what: str, names: set[str], advice: str) -> None:
    if len(names) > 1:
        raise OptionError(
            f"{folder} holds maps of several {what} ({', '.join(sorted(names))}), and a report is "
            f"of one: {advice}."
        )


def _manifest(path: Path) -> dict[str, Any] | None:
    """The content of a manifest; None for another JSON file."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    is_one = isinstance(facts, dict) and isinstance(facts.get("onnxplain"), dict)
    return facts if is_one and "manifest" in facts["onnxplain"] and "method" in facts else None


def _map_file(path: Path, folder: Path, facts: Mapping[str, Any]) -> MapFile:
    target, picture, preprocess = facts["target"], facts["picture"], facts["preprocess"]
    low, high = facts["heatmap"]["range"]
    score = facts["score"]["value"]
    return MapFile(
        id=str(path.relative_to(folder).with_suffix("")),
        input=picture["path"],
        size=(picture["height"], picture["width"]),
        class_name=target["label"] or target["name"],
        class_index=target["index"],
        score=float("nan") if score is None else score,
        score_kind=facts["score"]["kind"],
        method=facts["method"],
        layers=tuple(facts["layers"]),
        stem=path.with_suffix(""),
        heatmap_range=(low, high),
        preprocess=preprocess,
    )


def _with_labels(maps: Sequence[MapFile]) -> list[MapFile]:
    """The maps, with the name of a picture's folder as its label where it is a class's name."""
    names = {one.class_name for one in maps}
    folders = (Path(one.input).parent.name for one in maps)
    return [
        replace(one, label=folder) if folder in names else one
        for one, folder in zip(maps, folders, strict=True)
    ]


def _read(path: Path) -> Array:
    values = np.asarray(read_npy(path), np.float32)
    if not np.isfinite(values).all():
        raise PictureError(f"{path} has values that are not finite.")
    return values
