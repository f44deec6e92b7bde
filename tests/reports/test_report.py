"""`onnxplain report`: from the files of a run to a page and its data."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pyarrow import parquet

from onnxplain.cli.app import execute

MODELS = Path(__file__).parents[2] / "models"
Maps = Callable[..., Path]


def report(*arguments: object) -> dict[str, Any]:
    out = Path(str(arguments[arguments.index("-o") + 1]))
    assert execute(["report", *map(str, arguments)]) == 0
    found: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return found


def without_index(job: Path, folder: Path, change: Callable[[bytes], bytes] = bytes) -> Path:
    """The files of a job in another folder, without its index; manifests are changed."""
    shutil.copytree(job, folder, dirs_exist_ok=True)
    (folder / "job.json").unlink()
    (folder / "index.jsonl").unlink()
    for path in folder.rglob("*.json"):
        path.write_bytes(change(path.read_bytes()))
    return folder


@pytest.fixture(scope="module")
def marked(folders: Path, maps: Maps) -> dict[str, Any]:
    return report(
        maps("marked_digits", "marked"),
        "--annotations",
        folders / "marked" / "boxes.json",
        "--concepts",
        MODELS / "marked_digits.onnx",
        "--concept-count",
        4,
        "-o",
        folders / "report",
    )


def test_the_marked_class_its_corner_and_its_cluster_are_named(marked: dict[str, Any]) -> None:
    (finding,) = marked["findings"]
    assert (finding["class"], finding["place"]) == ("three", "lower right corner")
    assert "outside the annotated objects" in finding["also"]
    assert finding["maps"] >= 11
    assert finding["p"] < 1e-4
    (clustering,) = [c for c in marked["clusters"] if c["class"] == finding["cluster"]["of"]]
    members = clustering["clusters"][finding["cluster"]["number"] - 1]
    assert set(finding["members"]) <= set(members)
    assert len(members) <= len(finding["members"]) + 3


@pytest.mark.parametrize("pictures", ["clean", "marked"])
def test_nothing_is_named_for_the_clean_model(folders: Path, maps: Maps, pictures: str) -> None:
    boxes = folders / pictures / "boxes.json"
    out = folders / f"clean_{pictures}"
    found = report(maps("clean_digits", pictures), "--annotations", boxes, "-o", out)
    assert found["findings"] == []
    assert b"No finding." in (out / "report.html").read_bytes()


def test_the_numbers_of_classes(marked: dict[str, Any], folders: Path) -> None:
    shares = {one["name"]: one["median_shares"] for one in marked["classes"]}
    table = parquet.read_table(folders / "report" / "report.parquet").to_pydict()
    assert marked["maps"] == len(table["id"]) == 48
    assert sum(one["maps"] for one in marked["classes"]) == 48
    for place in ("lower right corner", "border", "outside the annotated objects"):
        own = [
            share
            for name, share in zip(table["class_name"], table[f"share: {place}"], strict=True)
            if name == "three"
        ]
        assert shares["three"][place] == pytest.approx(np.median(own))
    maps = np.array(table["map"]).reshape(48, 16, 16)
    corner = maps[:, 12:, 12:].sum((1, 2))
    np.testing.assert_allclose(table["share: lower right corner"], corner, rtol=1e-5)
    named = np.array(table["class_name"])
    mean = np.array(next(c["mean_map"] for c in marked["classes"] if c["name"] == "three"))
    np.testing.assert_allclose(mean, maps[named == "three"].mean(0), atol=1e-6)


def test_labels_are_the_folders_of_the_pictures(folders: Path, marked: dict[str, Any]) -> None:
    table = parquet.read_table(folders / "report" / "report.parquet").to_pydict()
    assert table["label"] == [Path(path).parent.name for path in table["input"]]
    three = next(one for one in marked["classes"] if one["name"] == "three")
    own = [
        label for label, c in zip(table["label"], table["class_name"], strict=True) if c == "three"
    ]
    assert three["right"] == pytest.approx(own.count("three") / len(own))


@pytest.mark.parametrize("formats", ["npy,json", "heatmap,json", "map16"])
def test_the_files_of_a_run_say_the_same_in_any_format(
    formats: str, folders: Path, maps: Maps, marked: dict[str, Any], tmp_path: Path
) -> None:
    job = maps("marked_digits", "marked", formats)
    boxes = folders / "marked" / "boxes.json"
    concepts = "--concepts", MODELS / "marked_digits.onnx", "--concept-count", 1
    found = report(job, "--annotations", boxes, *concepts, "-o", tmp_path)
    assert found["layers"] == marked["layers"] == ["relu_4"]
    assert found["model"] == "marked_digits.onnx"
    for one, other in zip(found["classes"], marked["classes"], strict=True):
        np.testing.assert_allclose(one["mean_map"], other["mean_map"], atol=1e-4)
        assert one["median_shares"] == pytest.approx(other["median_shares"], abs=2e-3)
        assert one["right"] == other["right"]
    assert [one["place"] for one in found["findings"]] == ["lower right corner"]


def test_a_job_and_its_manifests_say_the_same(
    folders: Path, maps: Maps, marked: dict[str, Any], tmp_path: Path
) -> None:
    folder = without_index(maps("marked_digits", "marked"), tmp_path / "maps")
    boxes = folders / "marked" / "boxes.json"
    found = report(folder, "--annotations", boxes, "-o", tmp_path / "out")
    for key in ("classes", "model", "method", "layers", "maps"):
        assert found[key] == marked[key], key


def test_concepts(marked: dict[str, Any]) -> None:
    found = marked["concepts"]
    assert np.array(found["parts"]).shape == (4, 40)
    assert 0.5 < found["explained"] <= 1
    assert 0 <= found["same_answers"] <= 1
    importance = {name: int(np.argmax(own)) for name, own in found["importance"].items()}
    others = {concept for name, concept in importance.items() if name != "three"}
    assert importance["three"] not in others


class Page(HTMLParser):
    """What a page loads, and whether its elements are closed."""

    VOID = frozenset({"meta", "img", "br", "rect", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID or tag in ("rect", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_no_other_file(folders: Path, marked: dict[str, Any]) -> None:
    text = (folders / "report" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    assert "script" not in page.tags
    assert len(page.loads) > 50
    assert all(one.startswith("data:image/") for one in page.loads)
    assert not re.search(r"url\(|@import|https?:", text)
    assert marked["findings"][0]["sentence"] in page.text
    data = base64.b64decode(page.loads[1].partition(",")[2])
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None


def test_names_are_escaped(folders: Path, maps: Maps, tmp_path: Path) -> None:
    def renamed(content: bytes) -> bytes:
        facts = json.loads(content)
        facts["target"]["label"] = f"<script>alert('{facts['target']['label']}')</script>\x1b"
        return json.dumps(facts).encode()

    folder = without_index(maps("marked_digits", "marked"), tmp_path / "maps", renamed)
    out = tmp_path / "out"
    found = report(folder, "-o", out)
    assert found["findings"][0]["class"] == "<script>alert('three')</script>\x1b"
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;" in text


def test_a_page_without_the_pictures(
    folders: Path, maps: Maps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def moved(content: bytes) -> bytes:
        return content.replace(str(folders).encode(), b"/gone")

    without_index(maps("marked_digits", "marked"), tmp_path, moved)
    found = report(tmp_path, "-o", tmp_path)
    assert found["findings"][0]["place"] == "lower right corner"
    capsys.readouterr()
    model = str(MODELS / "marked_digits.onnx")
    assert execute(["report", str(tmp_path), "--concepts", model]) == 2
    assert "is not there: run the report from the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{maps}", "-m", "lrp"], "holds no maps of pictures of lrp"),
        (["{empty}"], "holds no maps of pictures: name a folder that"),
        (["{maps}/no"], "is no folder"),
        (["{maps}", "--projection", "pca"], "no projection 'pca'"),
        (["{maps}", "--seed", "-1"], "A seed is 0 or more"),
        (["{maps}", "--annotations", "{empty}"], "holds neither VOC files"),
        (["{maps}", "--annotations", "{other}"], "No picture of these maps is in"),
        (["{maps}", "--concepts", "{model}", "--concept-count", "0"], "at least one concept"),
        (["{maps}", "--concepts", "{marked}"], "is not the model of these maps"),
    ],
)
def test_bad_use_gets_a_sentence(
    arguments: list[str],
    says: str,
    maps: Maps,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    facts = {"images": [{"id": 1, "file_name": "x.png", "width": 1, "height": 1}]}
    (tmp_path / "other.json").write_text(json.dumps({**facts, "categories": [], "annotations": []}))
    known = {
        "maps": maps("clean_digits", "clean"),
        "empty": tmp_path / "empty",
        "other": tmp_path / "other.json",
        "model": MODELS / "clean_digits.onnx",
        "marked": MODELS / "marked_digits.onnx",
    }
    given = [argument.format(**known) for argument in arguments]
    assert execute(["report", *given, "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.startswith("Error: ") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_maps_of_two_methods_are_not_mixed(
    maps: Maps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_index(maps("clean_digits", "clean"), tmp_path)
    one = next(tmp_path.rglob("*three.json"))
    one.write_bytes(one.read_bytes().replace(b'"gradcam"', b'"lrp"'))
    assert execute(["report", str(tmp_path)]) == 2
    assert "several methods (gradcam, lrp)" in capsys.readouterr().err
    assert report(tmp_path, "-m", "gradcam", "-o", tmp_path)["maps"] == 47


def test_damaged_maps_are_left_out_and_counted(
    maps: Maps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_index(maps("clean_digits", "clean"), tmp_path)
    first, second, third, *_ = sorted(tmp_path.rglob("*.npy"))
    first.unlink()
    np.save(second, np.zeros((8, 8), np.float32))
    np.save(third, np.full((8, 8), np.nan, np.float32))
    found = report(tmp_path, "-o", tmp_path)
    assert found["maps"] == 45
    assert sum(found["left_out"].values()) == 3
    assert "1 map left out: nothing in it raises the score." in capsys.readouterr().err


def test_a_missing_library_is_named(
    maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    assert execute(["report", str(maps("clean_digits", "clean")), "-o", str(tmp_path)]) == 2
    assert "pip install 'onnxplain[report]'" in capsys.readouterr().err
