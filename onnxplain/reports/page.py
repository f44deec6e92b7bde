"""The page of a report: one HTML file that needs no other file and no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxplain.counts import counted
from onnxplain.reports.analysis import Report
from onnxplain.reports.clusters import Clustering
from onnxplain.reports.extras import needed
from onnxplain.reports.findings import (
    LEAST_EXCESS,
    LEAST_MAPS,
    LEAST_SHARE,
    LEVEL,
    NORMAL,
    Finding,
    testable,
)
from onnxplain.reports.map_files import MapFile
from onnxplain.reports.pictures import heat_address, map_address, picture_address, picture_of
from onnxplain.reports.places import PLACES
from onnxplain.reports.plots import COLORS, OTHER, eigenvalue_bars, scatter
from onnxplain.visible import visible

MOST_CLASSES = 40
"""More classes are left out of the page's details: those with findings come first, then the
largest. The data files have all of them."""

_EXAMPLES = 8
_NAMED = 3


def render(template: str, **content: Any) -> bytes:
    """A page from a template of this package; all text in `content` is escaped.

    Raises:
        OptionError: Jinja2 is not installed.
    """
    jinja2 = needed("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("onnxplain.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    page: str = environment.get_template(template).render(**content)
    return page.encode()


def report_page(report: Report) -> bytes:
    """The page of a report."""
    shown = _shown_classes(report)
    return render(
        "report.html",
        report=report,
        maps=counted(len(report.maps.files), "map"),
        classes=counted(len(report.classes), "class", "classes"),
        left_out=sorted(report.maps.left_out.items(), key=lambda one: -one[1]),
        testable=testable(report.maps.classes),
        least_maps=LEAST_MAPS,
        level=f"{LEVEL:.0%}",
        normal=f"{NORMAL:.0%}",
        least_share=f"{LEAST_SHARE:.0%}",
        least_excess=f"{LEAST_EXCESS:.0%}",
        findings=[_finding(report, i) for i in range(len(report.findings))],
        places=list(report.maps.places),
        class_rows=_class_rows(report, shown),
        hidden=len(report.classes) - len(shown),
        projection=_projection(report),
        clusterings=[
            _clustering(report, one)
            for one in report.clusters
            if one.class_name is None or one.class_name in shown
        ],
        strange=[_strange(report, i) for i in range(len(report.strange))],
        concepts=_concepts(report),
    )


def sentence(report: Report, finding: Finding) -> str:
    """A finding in words."""
    where = f"in the {finding.place}" if finding.place in PLACES else finding.place
    return (
        f"{len(finding.members)} of {finding.count} maps of {finding.class_name!r} have more heat "
        f"{where} than {NORMAL:.0%} of the maps of the other classes: {finding.median:.0%} of the "
        f"heat is there (median), and in the other classes {finding.others:.0%}."
    )


def cluster_sentence(report: Report, index: int) -> str:
    """The cluster that fits a finding's maps best, in words."""
    which, number = report.cluster_of[index]
    clustering, members = report.clusters[which], set(report.findings[index].members)
    own = clustering.members[number]
    inside = len(members & set(own.tolist()))
    return (
        f"{clustering.name(number)} holds {inside} of these {counted(len(members), 'map')}, and "
        f"{len(own) - inside} more."
    )


def _shown_classes(report: Report) -> list[str]:
    named = [finding.class_name for finding in report.findings]
    by_size = sorted(report.classes, key=lambda one: -one.count)
    chosen = list(dict.fromkeys([*named, *(one.name for one in by_size)]))[:MOST_CLASSES]
    return [one.name for one in report.classes if one.name in chosen]


def _finding(report: Report, index: int) -> dict[str, Any]:
    finding = report.findings[index]
    own = next(one for one in report.classes if one.name == finding.class_name)
    share = report.maps.places[finding.place]
    ordered = sorted(finding.members, key=lambda i: -share[i])
    return {
        "class_name": finding.class_name,
        "place": finding.place,
        "sentence": sentence(report, finding),
        "cluster": cluster_sentence(report, index),
        "p": f"{finding.p:.1g}",
        "also": ", ".join(finding.also),
        "map": map_address(own.mean, PLACES.get(finding.place)),
        "examples": _examples(report, _spread(ordered, _EXAMPLES)),
    }


def _class_rows(report: Report, shown: Sequence[str]) -> list[dict[str, Any]]:
    flagged = {
        (finding.class_name, place)
        for finding in report.findings
        for place in (finding.place, *finding.also)
    }
    return [
        {
            "name": one.name,
            "count": one.count,
            "right": None if one.right is None else f"{one.right:.0%}",
            "mean": map_address(one.mean),
            "spread": map_address(one.spread),
            "shares": [
                {
                    "text": "–" if np.isnan(value) else f"{value:.0%}",
                    "flagged": (one.name, place) in flagged,
                }
                for place, value in one.places.items()
            ],
        }
        for one in report.classes
        if one.name in shown
    ]


def _projection(report: Report) -> dict[str, Any] | None:
    if report.projection is None:
        return None
    files = report.maps.files
    largest = [one.name for one in sorted(report.classes, key=lambda one: -one.count)]
    colored = dict(zip(sorted(largest[: len(COLORS)]), COLORS, strict=False))
    found = {member for finding in report.findings for member in finding.members}
    legend = list(colored.items())
    if len(largest) > len(COLORS):
        legend.append((counted(len(largest) - len(COLORS), "other class", "other classes"), OTHER))
    return {
        "svg": _markup(
            scatter(
                report.projection,
                [colored.get(files[i].class_name, OTHER) for i in report.projected],
                [visible(f"{files[i].class_name}: {files[i].id}") for i in report.projected],
                [i in found for i in report.projected],
            )
        ),
        "legend": legend,
        "name": {"tsne": "t-SNE", "umap": "UMAP"}[report.projection_kind],
        "count": len(report.projected),
        "ringed": bool(found),
    }


def _clustering(report: Report, clustering: Clustering) -> dict[str, Any]:
    count = len(clustering.members)
    gap = clustering.gaps[count - 1] if clustering.eigenvalues else 0.0
    return {
        "title": clustering.class_name or "All classes",
        "count": count,
        "size": sum(map(len, clustering.members)),
        "bars": _markup(eigenvalue_bars(clustering.eigenvalues, count))
        if clustering.eigenvalues
        else None,
        "gap": f"{gap:.2f}",
        "clusters": [_cluster(report, clustering, i) for i in range(count)],
    }


def _cluster(report: Report, clustering: Clustering, index: int) -> dict[str, Any]:
    members = clustering.members[index].tolist()
    mean = report.maps.grids[members].mean(0)
    counts = Counter(report.maps.files[i].class_name for i in members).most_common()
    who = [f"{name} {number}" for name, number in counts[:_NAMED]]
    if len(counts) > _NAMED:
        who.append(f"{sum(number for _, number in counts[_NAMED:])} of other classes")
    center = [-float((report.maps.grids[i] * mean).sum()) for i in members]
    ordered = [members[i] for i in np.argsort(center, kind="stable")]
    named = [
        f"{report.findings[i].class_name}: {report.findings[i].place}"
        for i, (which, number) in enumerate(report.cluster_of)
        if report.clusters[which] is clustering and number == index
    ]
    return {
        "title": f"Cluster {index + 1}",
        "size": len(members),
        "who": ", ".join(who) if clustering.class_name is None else "",
        "found": "; ".join(named),
        "map": map_address(mean),
        "examples": _examples(report, _spread(ordered, _EXAMPLES)),
    }


def _strange(report: Report, index: int) -> dict[str, Any]:
    strange = report.strange[index]
    (example,) = _examples(report, [strange.index])
    return example | {"distance": f"{strange.distance:.2f}", "unusual": f"{strange.unusual:.1f}"}


def _concepts(report: Report) -> dict[str, Any] | None:
    found = report.concepts
    if found is None:
        return None
    classes = list(found.importance)
    top = max((float(own.max()) for own in found.importance.values()), default=1.0) or 1.0
    return {
        "layer": found.layer,
        "pictures": found.pictures,
        "explained": f"{found.explained:.0%}",
        "same": f"{found.same_answers:.0%}",
        "each": [
            {
                "title": f"Concept {number + 1}",
                "examples": [_concept_example(report, *one) for one in examples],
                "classes": _most_important(found.importance, number),
            }
            for number, examples in enumerate(found.examples)
        ],
        "classes": classes,
        "rows": [
            {
                "name": name,
                "cells": [{"text": f"{value:.2f}", "level": f"{value / top:.2f}"} for value in own],
            }
            for name, own in found.importance.items()
        ],
    }


def _most_important(importance: Mapping[str, Any], number: int) -> str:
    """The classes to which a concept matters most."""
    ordered = sorted(importance.items(), key=lambda one: -one[1][number])[:_NAMED]
    return ", ".join(f"{name} {own[number]:.2f}" for name, own in ordered)


def _concept_example(report: Report, index: int, cells: Any) -> dict[str, str]:
    file = report.maps.files[index]
    picture = picture_of(file.path, file.size)
    heat = file.placement.on_canvas(file.placement.on_seen(cells)).clip(0)
    return {"over": heat_address(picture, heat), "title": f"{file.class_name}: {file.id}"}


def _examples(report: Report, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Pictures with their heat, and what is known of each."""
    found, classes = [], set(report.maps.classes)
    for index in indices:
        file = report.maps.files[index]
        picture = picture_of(file.path, file.size)
        found.append(
            {
                "plain": picture_address(picture),
                "over": heat_address(picture, file.heat()),
                "title": _title(file),
                "id": file.id,
                "class_name": file.class_name,
                "label": file.label if file.label in classes - {file.class_name} else None,
            }
        )
    return found


def _title(file: MapFile) -> str:
    score = "" if file.score is None else f", {file.score_kind} {file.score:.3g}"
    return f"{file.class_name}: {file.id}{score}"


def _spread(ordered: Sequence[int], count: int) -> list[int]:
    """At most `count` of them, spread evenly over the first three quarters, the first included."""
    if len(ordered) <= count:
        return list(ordered)
    last = max(count - 1, round(0.75 * (len(ordered) - 1)))
    return [ordered[i] for i in np.linspace(0, last, count).round().astype(int)]


def _markup(svg: str) -> Any:
    """SVG of this package, whose text is escaped already."""
    return needed("markupsafe").Markup(svg)
