"""Everything that a report says about the maps of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxplain.errors import OnnxplainError, OptionError
from onnxplain.images.annotations import Annotations
from onnxplain.reports.clusters import MOST_MAPS, Clustering, cluster, features, project
from onnxplain.reports.concepts import Concepts
from onnxplain.reports.findings import Finding, find
from onnxplain.reports.map_files import Folder, MapFile
from onnxplain.reports.places import OUTSIDE, outside_share, place_shares, shares
from onnxplain.reports.strange import Strange, strangest
from onnxplain.runtime.batching import Progress
from onnxplain.tensors import Array, FloatArray

_STRANGEST = 12


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of pictures, brought to one grid.

    Attributes:
        files: which maps.
        grids: the share of each map's heat in each cell, (maps, GRID, GRID), float32, sum 1.
        places: the share of each map's heat in each place, (maps,); NaN where it is not known.
        left_out: why other maps are not among them, and how many.
    """

    files: Sequence[MapFile]
    grids: FloatArray = field(repr=False)
    places: Mapping[str, Array] = field(repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The class of each map."""
        return [one.class_name for one in self.files]

    @property
    def by_class(self) -> dict[str, Array]:
        """The indices of the maps of each class, in the order of the classes' names."""
        names = np.array(self.classes)
        return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """The maps of one class.

    `mean` and `spread` are the mean and the standard deviation of each cell, (GRID, GRID), and
    `places` has the median share of heat in each place. `right` is the share of the
    pictures whose label is the class, among those with the label of a class that was explained;
    None if there is none.
    """

    name: str
    count: int
    mean: FloatArray = field(repr=False)
    spread: FloatArray = field(repr=False)
    places: Mapping[str, float]
    right: float | None


@dataclass(frozen=True, eq=False)
class Report:
    """What the maps of a folder say together.

    `clusters` has the clustering of all maps first, then one for each class. `cluster_of` holds for
    each finding the clustering and the number of the cluster that fits its maps best.
    """

    folder: Path
    model: str
    method: str
    layers: Sequence[str]
    maps: Maps
    classes: Sequence[ClassMaps]
    findings: Sequence[Finding]
    cluster_of: Sequence[tuple[int, int]]
    strange: Sequence[Strange]
    clusters: Sequence[Clustering]
    projection: Array | None
    projection_kind: str
    projected: Array
    annotations: str | None
    concepts: Concepts | None


def read_maps(folder: Folder, annotations: Annotations | None, report: Progress) -> Maps:
    """Read the maps of a folder, one at a time, and keep their shares of heat.

    Raises:
        OptionError: none of them can be used.
    """
    left_out = Counter(folder.left_out)
    files, grids, outside = list[MapFile](), list[FloatArray](), list[float]()
    for done, file in enumerate(folder.maps, start=1):
        report(done, len(folder.maps))
        try:
            heat = file.heat()
            grid = shares(heat, file.seen)
        except OnnxplainError as error:
            left_out[f"{error}"] += 1
            continue
        if grid is None:
            left_out["nothing in it raises the score"] += 1
            continue
        files.append(file)
        grids.append(grid)
        known = None if annotations is None else annotations.of(file.input)
        outside.append(
            float("nan") if known is None else outside_share(heat, known.inside(heat.shape))
        )
    if not files:
        reason = next(iter(left_out), "there is none")
        raise OptionError(f"No map in {folder.path} can be used: {reason}")
    if annotations is not None and np.isnan(outside).all():
        raise OptionError(
            f"No picture of these maps is in {annotations.path}: its names must end the paths "
            f"of the pictures, such as {files[0].input}."
        )
    stacked = np.stack(grids)
    places = place_shares(stacked)
    if annotations is not None:
        places[OUTSIDE] = np.array(outside)
    return Maps(files, stacked, places, left_out)


def analyze(
    folder: Folder,
    maps: Maps,
    *,
    projection: str,
    annotations: str | None = None,
    concepts: Concepts | None = None,
    seed: int = 0,
) -> Report:
    """Compare classes, cluster maps, and find the strangest.

    Raises:
        OptionError: a library of the extra `report` is missing, or there is no such projection.
    """
    vectors, by_class = features(maps.grids), maps.by_class
    findings = find(maps.classes, maps.places)
    everything = np.arange(len(maps.files))
    clusters = [cluster(vectors, everything, None, seed)] if len(by_class) > 1 else []
    clusters += [cluster(vectors, members, name, seed) for name, members in by_class.items()]
    rng = np.random.default_rng(seed)
    shown = everything
    if len(everything) > MOST_MAPS:
        shown = np.sort(rng.choice(everything, MOST_MAPS, replace=False))
    return Report(
        folder=folder.path,
        model=folder.model,
        method=maps.files[0].method,
        layers=folder.layers,
        maps=maps,
        classes=[_class_maps(maps, name, own) for name, own in by_class.items()],
        findings=findings,
        cluster_of=[best_cluster(clusters, finding.members) for finding in findings],
        strange=strangest(vectors, by_class, _STRANGEST),
        clusters=clusters,
        projection=project(vectors[shown], projection, seed),
        projection_kind=projection,
        projected=shown,
        annotations=annotations,
        concepts=concepts,
    )


def _class_maps(maps: Maps, name: str, members: Array) -> ClassMaps:
    own = maps.grids[members]
    explained = set(maps.classes)
    labels = [maps.files[i].label for i in members]
    known = [label == name for label in labels if label in explained]
    medians = {place: _median(share[members]) for place, share in maps.places.items()}
    right = float(np.mean(known)) if known else None
    return ClassMaps(name, len(members), own.mean(0), own.std(0), medians, right)


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def best_cluster(clusters: Sequence[Clustering], members: Sequence[int]) -> tuple[int, int]:
    """The clustering and the cluster in it that fit some maps best, by the F1 score."""
    wanted = set(members)
    scored = [
        (2 * len(wanted & set(own.tolist())) / (len(wanted) + len(own)), i, j)
        for i, clustering in enumerate(clusters)
        for j, own in enumerate(clustering.members)
    ]
    _, i, j = max(scored, key=lambda one: one[0])
    return i, j
