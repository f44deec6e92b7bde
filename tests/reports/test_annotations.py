"""Annotated objects, read from COCO and VOC files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnxplain.errors import OptionError
from onnxplain.reports.annotations import read_annotations

VOC = """<annotation><filename>cat.jpg</filename>
<size><width>8</width><height>6</height><depth>3</depth></size>
<object><name>cat</name><bndbox><xmin>3</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object>
</annotation>"""


def coco(**annotation: object) -> str:
    return json.dumps(
        {
            "images": [{"id": 7, "file_name": "pets/cat.jpg", "width": 8, "height": 6}],
            "annotations": [{"id": 1, "image_id": 7, "category_id": 1, **annotation}],
            "categories": [{"id": 1, "name": "cat"}],
        }
    )


def inside(path: Path, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    picture = read_annotations(path).of("/data/pets/cat.jpg")
    assert picture is not None
    return picture.inside(size)


def box() -> np.ndarray:
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:5] = True
    return expected


@pytest.mark.parametrize(
    "annotation",
    [
        {"bbox": [2, 1, 3, 3]},
        {"bbox": [0, 0, 8, 6], "segmentation": [[2, 1, 4, 1, 4, 3, 2, 3]]},
        # Column by column: 13 outside, then three columns of three.
        {"segmentation": {"size": [6, 8], "counts": [13, 3, 3, 3, 3, 3, 20]}, "iscrowd": 1},
    ],
    ids=["box", "polygon", "run lengths"],
)
def test_coco(tmp_path: Path, annotation: dict[str, object]) -> None:
    (tmp_path / "a.json").write_text(coco(**annotation))
    np.testing.assert_array_equal(inside(tmp_path / "a.json"), box())


def test_voc(tmp_path: Path) -> None:
    (tmp_path / "cat.xml").write_text(VOC)
    np.testing.assert_array_equal(inside(tmp_path), box())


def test_another_size_of_the_picture(tmp_path: Path) -> None:
    (tmp_path / "cat.xml").write_text(VOC)
    expected = box().repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(inside(tmp_path, (12, 16)), expected)


def test_a_picture_is_found_by_the_end_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(coco(bbox=[0, 0, 1, 1]))
    found = read_annotations(tmp_path / "a.json")
    assert found.of("pets/cat.jpg") is not None
    assert found.of("/x/pets/cat.png") is not None
    assert found.of("/x/dogs/cat.jpg") is None
    assert found.of("cat.jpg") is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "is no COCO file"),
        ("{", "is no COCO file"),
        (coco(bbox=[1, 2]), "is no COCO file"),
        (coco(segmentation={"size": [6, 8], "counts": "abc"}), "compressed run lengths"),
        (coco(segmentation={"size": [6, 8], "counts": [1, 2]}), "is no COCO file"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(OptionError, match=says):
        read_annotations(tmp_path / "a.json")


@pytest.mark.parametrize("content", ["<annotation>", "<annotation/>", "", VOC.replace("xmin", "x")])
def test_damaged_voc_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(OptionError, match="no folder of VOC files"):
        read_annotations(tmp_path)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_annotations(tmp_path / "no.json")
    with pytest.raises(OptionError, match=r"holds no \.xml file"):
        read_annotations(tmp_path)
