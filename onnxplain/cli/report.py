"""`onnxplain report`: what the maps of a folder say together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxplain.cli import parameters
from onnxplain.cli.console import Console, echo
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import open_model
from onnxplain.cli.notes import note_guess
from onnxplain.cli.pictures import limit_decoding
from onnxplain.counts import counted
from onnxplain.errors import OptionError
from onnxplain.images.annotations import read_annotations
from onnxplain.reports.analysis import Maps, Report, analyze, read_maps
from onnxplain.reports.clusters import check_projection
from onnxplain.reports.concepts import Concepts, find_concepts
from onnxplain.reports.data_files import json_file, parquet_file
from onnxplain.reports.findings import testable
from onnxplain.reports.map_files import Folder, read_folder
from onnxplain.reports.page import cluster_sentence, report_page, sentence
from onnxplain.reports.virelay import FOLDER, h5py_or_refuse, write_project
from onnxplain.results.formats.write import check_folder, write_files


def command(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What `onnxplain run --out` wrote.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Folder for the files, if not the same."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where objects are: COCO .json, or a folder of VOC .xml or masks.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", metavar="NAME", help="Maps to take, if there are several."),
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Find concepts in this model, that of the maps."),
    ] = None,
    concept_count: Annotated[int, typer.Option(metavar="COUNT", help="Concepts to find.")] = 8,
    projection: Annotated[
        str, typer.Option(metavar="NAME", help="Map of all maps: tsne or umap.")
    ] = "tsne",
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of everything random.")] = 0,
    virelay: Annotated[
        bool, typer.Option("--virelay", help="Also write a project for ViRelAy.")
    ] = False,
    as_json: parameters.AsJson = False,
    quiet: parameters.Quiet = False,
    loading: Given,
    preprocess: Given,
) -> None:
    """Write report.html, report.json and report.parquet, and print the findings."""
    console = Console(quiet=quiet, as_json=as_json)
    limit_decoding()
    check_projection(projection)
    if virelay:
        h5py_or_refuse()
    if seed < 0:
        raise OptionError(f"A seed is 0 or more, not {seed}.")
    target = folder if out is None else out
    if target.exists() or out is not None:
        check_folder(target)
    objects = None if annotations is None else read_annotations(annotations)
    found = read_folder(folder, method)
    with console.progress("maps") as progress:
        maps = read_maps(found, objects, progress)
    used = None
    if concepts is not None:
        used = _concepts(concepts, concept_count, found, maps, seed, console, loading, preprocess)
    report = analyze(
        found,
        maps,
        projection=projection,
        annotations=None if objects is None else str(objects.path),
        concepts=used,
        seed=seed,
    )
    data = json_file(report)
    files = {
        "report.parquet": parquet_file(report),
        "report.json": data,
        "report.html": report_page(report),
    }
    *_, page = write_files(target, files)
    if virelay:
        with console.progress("pictures and maps") as progress:
            project = write_project(report, target / FOLDER, progress)
        console.note(f"Wrote {project}: open it with `virelay {project}`.")
    for reason, count in report.maps.left_out.items():
        console.note(f"Note: {counted(count, 'map')} left out: {reason.rstrip('.')}.")
    if as_json:
        typer.echo(data.decode(), nl=False)
    elif not quiet:
        _print(report, page)


def _concepts(
    path: Path,
    count: int,
    folder: Folder,
    maps: Maps,
    seed: int,
    console: Console,
    loading: Given,
    preprocess: Given,
) -> Concepts:
    explainer = open_model(path, loading, preprocess)
    if explainer.whole_model.sha256 != folder.sha256:
        raise OptionError(f"{path} is not the model of these maps, which is {folder.model}.")
    note_guess(explainer.origin, path, console)
    with console.progress("activations") as progress:
        return find_concepts(explainer, maps.files, folder.layers, count, progress, seed)


def _print(report: Report, page: Path) -> None:
    for index, finding in enumerate(report.findings):
        echo(f"{finding.class_name}: {finding.place}")
        echo(f"  {sentence(report, finding)}")
        echo(f"  {cluster_sentence(report, index)}")
    if not report.findings:
        echo(
            "No finding: no class looks at a corner, an edge or the border much more than others."
            if testable(report.maps.classes)
            else "Classes were not compared: there are not two with enough maps."
        )
    echo(f"-> {page}")
