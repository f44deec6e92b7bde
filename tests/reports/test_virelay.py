"""`onnxplain report --virelay`: the project is what ViRelAy's own classes read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxplain.cli.app import execute
from onnxplain.images.picture import read_pixels
from onnxplain.jobs.results import Results
from onnxplain.reports.map_files import read_folder
from onnxplain.reports.virelay import LARGEST_SIDE, _small

Maps = Callable[..., Path]

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def project(maps: Maps, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, out = maps("marked_digits", "marked", "map16"), tmp_path_factory.mktemp("virelay")
    assert execute(["report", str(folder), "-o", str(out), "-q", "--virelay"]) == 0
    return out / "virelay"


def read(file: Any, name: str) -> list[Any]:
    """The values of a group, in the order of its names."""
    return [file[name][key][()] for key in sorted(file[name])]


def test_pictures_and_maps(project: Path, maps: Maps) -> None:
    files = read_folder(maps("marked_digits", "marked", "map16")).maps
    names = {one["index"]: one["name"] for one in json.loads((project / "labels.json").read_text())}
    records = {one.id: one for one in Results(maps("marked_digits", "marked", "map16"))}
    with h5py.File(project / "pictures.h5") as pictures, h5py.File(project / "maps.h5") as found:
        assert found["index"][()].tolist() == list(range(len(files)))
        columns = [
            *(read(pictures, name) for name in ("data", "label")),
            *(read(found, name) for name in ("attribution", "label", "prediction")),
        ]
    for file, picture, true, values, explained, predicted in zip(files, *columns, strict=True):
        assert np.array_equal(picture.transpose(1, 2, 0), read_pixels(file.path))
        assert np.array_equal(values, file.values()[None])
        assert names[int(true)] == file.path.parent.name
        assert names[int(explained)] == records[file.id].class_name
        assert np.flatnonzero(predicted).tolist() == [records[file.id].predicted]


def test_clusters_are_those_of_the_report(project: Path) -> None:
    report = json.loads((project.parent / "report.json").read_text())
    ids = [one.id for one in read_folder(Path(report["folder"])).maps]
    with h5py.File(project / "clusters.h5") as found:
        for clustering in report["clusters"]:
            group = found[clustering["class"] or "all_classes"]
            index, number = group["index"][()], group["cluster/spectral"][()]
            assert group["embedding/tsne"].shape == (len(index), 2)
            for i, members in enumerate(clustering["clusters"]):
                assert sorted(ids[j] for j in index[number == i]) == sorted(members)


def test_virelay_reads_it(project: Path) -> None:
    model = pytest.importorskip("virelay.model")
    read = model.Project(str(project / "project.yaml"))
    count = len(read.dataset)
    for i in (0, count - 1):
        sample, attribution = read.get_sample(i), read.get_attribution(i)
        assert sample.data.shape[:2] == attribution.data.shape[:2]
        assert sample.data.shape[2] == 3
        assert attribution.render_heatmap("black-fire-red").shape[:2] == sample.data.shape[:2]
    (method,) = read.get_analysis_methods()
    categories = [one.name for one in read.get_analysis_categories(method)]
    assert "all_classes" in categories
    analysis = read.get_analysis(method, "all_classes", "spectral", "tsne")
    assert len(analysis.embedding) == len(analysis.clustering) == count
    read.close()


def test_large_pictures_become_smaller() -> None:
    picture = np.arange(2 * LARGEST_SIDE, dtype=np.float32)[None].repeat(4, 0)
    small = _small(picture)
    assert small.shape == (2, LARGEST_SIDE)
    np.testing.assert_allclose(small[0], 2 * np.arange(LARGEST_SIDE) + 0.5)


def test_without_h5py(
    maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    folder = maps("marked_digits", "marked", "map16")
    assert execute(["report", str(folder), "-o", str(tmp_path / "out"), "--virelay"]) == 2
    said = capsys.readouterr().err
    assert "A project of ViRelAy needs h5py: pip install 'onnxplain[virelay]'" in said
    assert not (tmp_path / "out").exists()
