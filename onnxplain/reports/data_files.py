"""The data of a report: JSON with what is said, Parquet with a row for each map."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxplain.reports.analysis import Report
from onnxplain.reports.clusters import Clustering
from onnxplain.reports.extras import needed
from onnxplain.reports.findings import LEAST_EXCESS, LEAST_SHARE, LEVEL, NORMAL
from onnxplain.reports.page import cluster_sentence, sentence
from onnxplain.results.formats.manifest import as_json

VERSION = 1
"""Of the format of `report.json`."""


def content(report: Report) -> dict[str, Any]:
    """What is in `report.json`; see docs/report.md."""
    ids = [one.id for one in report.maps.files]
    return {
        "onnxplain": {"report": VERSION},
        "folder": report.folder,
        "model": report.model,
        "method": report.method,
        "layers": list(report.layers),
        "annotations": report.annotations,
        "maps": len(ids),
        "left_out": report.maps.left_out,
        "findings": [_finding(report, i) for i in range(len(report.findings))],
        "thresholds": {
            "level": LEVEL,
            "normal": NORMAL,
            "least_share": LEAST_SHARE,
            "least_excess": LEAST_EXCESS,
        },
        "classes": [
            {
                "name": one.name,
                "maps": one.count,
                "right": one.right,
                "median_shares": one.places,
                "mean_map": _rows(one.mean),
                "spread": _rows(one.spread),
            }
            for one in report.classes
        ],
        "strangest": [
            {"id": ids[one.index], "distance": one.distance, "unusual": one.unusual}
            for one in report.strange
        ],
        "clusters": [
            {
                "class": one.class_name,
                "eigenvalues": one.eigenvalues,
                "clusters": [[ids[i] for i in members.tolist()] for members in one.members],
            }
            for one in report.clusters
        ],
        "concepts": _concepts(report),
    }


def json_file(report: Report) -> bytes:
    """The file `report.json`."""
    return as_json(content(report))


def parquet_file(report: Report) -> bytes:
    """The file `report.parquet`, a row for each map.

    Raises:
        OptionError: pyarrow is not installed.
    """
    arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    files, maps = report.maps.files, report.maps
    placed = np.full((len(files), 2), np.nan)
    if report.projection is not None:
        placed[report.projected] = report.projection
    columns: dict[str, Any] = {
        "id": [one.id for one in files],
        "input": [one.input for one in files],
        "class_name": [one.class_name for one in files],
        "class_index": [one.class_index for one in files],
        "label": [one.label for one in files],
        "score": [one.score for one in files],
        "cluster": _numbers([c for c in report.clusters if c.class_name is None], len(files)),
        "class_cluster": _numbers(
            [c for c in report.clusters if c.class_name is not None], len(files)
        ),
        "x": placed[:, 0],
        "y": placed[:, 1],
        "map": list(maps.grids.reshape(len(files), -1)),
        **{f"share: {place}": share for place, share in maps.places.items()},
    }
    out = io.BytesIO()
    parquet.write_table(arrow.table(columns), out)
    return out.getvalue()


def _numbers(clusterings: Sequence[Clustering], maps: int) -> list[int | None]:
    """The number of each map's cluster, from 1; None for a map that is in no clustering."""
    found: list[int | None] = [None] * maps
    for clustering in clusterings:
        for number, members in enumerate(clustering.members, start=1):
            for index in members.tolist():
                found[index] = number
    return found


def _finding(report: Report, index: int) -> dict[str, Any]:
    found = report.findings[index]
    which, number = report.cluster_of[index]
    return {
        "class": found.class_name,
        "place": found.place,
        "also": found.also,
        "sentence": sentence(report, found),
        "maps": len(found.members),
        "of": found.count,
        "limit": found.limit,
        "median": found.median,
        "others": found.others,
        "p": found.p,
        "members": [report.maps.files[i].id for i in found.members],
        "cluster": {
            "of": report.clusters[which].class_name,
            "number": number + 1,
            "sentence": cluster_sentence(report, index),
        },
    }


def _concepts(report: Report) -> dict[str, Any] | None:
    found = report.concepts
    if found is None:
        return None
    return {
        "layer": found.layer,
        "pictures": found.pictures,
        "explained": found.explained,
        "same_answers": found.same_answers,
        "importance": {name: own.tolist() for name, own in found.importance.items()},
        "examples": [
            [report.maps.files[index].id for index, _ in examples] for examples in found.examples
        ],
        "parts": _rows(found.parts),
    }


def _rows(values: Any) -> list[list[float]]:
    """Numbers as nested lists, rounded to what float32 holds."""
    return [[float(f"{value:.6g}") for value in row] for row in values.tolist()]
