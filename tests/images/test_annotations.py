"""Annotated objects of pictures, read from COCO and VOC files, and from masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from onnxplain.errors import PictureError
from onnxplain.images.annotations import Polygons, Runs, _decoded, read_annotations
from onnxplain.tensors import Array

VOC = """<annotation><size><width>8</width><height>6</height><depth>3</depth></size>
<object><name>cat</name>
<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object></annotation>"""


def coco_file(folder: Path, *annotations: dict[str, Any], **image: object) -> Path:
    content = {
        "images": [{"id": 7, "file_name": "pets/cat.jpg", "width": 8, "height": 6} | image],
        "annotations": [{"image_id": 7, "category_id": 1} | one for one in annotations],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


def inside(path: Path, size: tuple[int, int] = (6, 8)) -> Array:
    objects = read_annotations(path).of("/data/pets/cat.jpg")
    assert objects is not None
    return objects.inside(size)


def box() -> Array:
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:5] = True
    return expected


# Column by column: 13 outside, then three columns of three.
RUNS = [13, 3, 3, 3, 3, 3, 20]


@pytest.mark.parametrize(
    "annotation",
    [
        {"bbox": [2, 1, 3, 3]},
        {"bbox": [1.6, 0.6, 3, 3]},
        {"bbox": [0, 0, 8, 6], "segmentation": [[2.5, 1.5, 4.5, 1.5, 4.5, 3.5, 2.5, 3.5]]},
        {"segmentation": {"size": [6, 8], "counts": RUNS}, "iscrowd": 1},
    ],
    ids=["box", "centers in a box", "polygon", "run lengths"],
)
def test_coco(tmp_path: Path, annotation: dict[str, object]) -> None:
    np.testing.assert_array_equal(inside(coco_file(tmp_path, annotation)), box())


@pytest.mark.peers
def test_compressed_masks_are_those_of_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    drawn = np.random.default_rng(0).random((90, 70)) > 0.7
    drawn[20:60, 10:50] = True
    packed = mask.encode(np.asfortranarray(drawn.astype(np.uint8)))
    runs = Runs(tuple(_decoded(packed["counts"].decode())), (90, 70))
    np.testing.assert_array_equal(runs.mask((90, 70)), drawn)


def test_compressed_masks(tmp_path: Path) -> None:
    """Runs 5, 2, 13 of 4 rows: the sixth and seventh pixel of the columns."""
    packed = {"segmentation": {"counts": "52=", "size": [4, 5]}}
    found = inside(coco_file(tmp_path, packed, height=4, width=5), (4, 5))
    assert np.argwhere(found).tolist() == [[1, 1], [2, 1]]


def test_polygons_are_filled() -> None:
    """A rectangle from (1, 0) to (4, 3) holds the pixels 1 to 3 of the rows 0 to 2."""
    drawn = Polygons([[1, 0, 4, 0, 4, 3, 1, 3]]).mask((8, 8))
    assert drawn[0:3, 1:4].all()
    assert drawn.sum() <= 16  # OpenCV also fills pixels that the border touches


def test_voc_counts_from_1_and_includes_the_last_pixel(tmp_path: Path) -> None:
    (tmp_path / "cat.xml").write_text(VOC)
    np.testing.assert_array_equal(inside(tmp_path), box())


def test_a_mask(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "cat.png"), box() * np.uint8(9))
    np.testing.assert_array_equal(inside(tmp_path), box())
    with pytest.raises(PictureError, match="has 8 x 6 pixels, and its picture 9 x 6"):
        inside(tmp_path, (6, 9))


def test_another_size_of_the_picture(tmp_path: Path) -> None:
    """A map on a coarser or finer grid than the picture that was annotated."""
    (tmp_path / "cat.xml").write_text(VOC)
    np.testing.assert_array_equal(inside(tmp_path, (12, 16)), box().repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(inside(tmp_path, (3, 4)), box()[::2, ::2])


def test_a_picture_of_coco_is_found_by_the_end_of_its_path(tmp_path: Path) -> None:
    found = read_annotations(coco_file(tmp_path, {"bbox": [0, 0, 1, 1]}))
    assert found.of("pets/cat.jpg") is not None
    assert found.of("/x/pets/cat.jpg") is not None
    assert found.of("/x/dogs/cat.jpg") is None
    assert found.of("cat.jpg") is None


def test_pictures_of_one_name_in_different_folders_are_different(tmp_path: Path) -> None:
    both = {"categories": [{"id": 1, "name": "cat"}], "images": [], "annotations": []}
    for number, folder in enumerate(["a", "b"]):
        both["images"].append({"id": number, "file_name": f"{folder}/1.jpg"})
        both["annotations"].append(
            {"image_id": number, "category_id": 1, "bbox": [number, 0, 1, 1]}
        )
    (tmp_path / "coco.json").write_text(json.dumps(both))
    found = read_annotations(tmp_path / "coco.json")
    for number, folder in enumerate(["a", "b"]):
        objects = found.of(f"/photos/{folder}/1.jpg")
        assert objects is not None
        assert np.argwhere(objects.inside((2, 2))).tolist() == [[0, number]]


def test_files_of_a_folder_are_found_by_the_longest_end_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/cat.xml").write_text(VOC)
    (tmp_path / "cat.xml").write_text(VOC.replace("<xmin>3", "<xmin>5"))
    found = read_annotations(tmp_path)
    areas = {}
    for picture in ("/x/pets/cat.jpg", "/x/dogs/cat.jpg"):
        objects = found.of(picture)
        assert objects is not None
        areas[picture] = int(objects.inside((6, 8)).sum())
    assert areas == {"/x/pets/cat.jpg": 9, "/x/dogs/cat.jpg": 3}
    assert found.of("/x/pets/dog.jpg") is None


def test_files_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text(VOC)
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/dog.xml").write_text(VOC)
    found = read_annotations(tmp_path / "voc")
    for picture in (tmp_path / "secret.jpg", "../secret.jpg", "x/../../secret.jpg"):
        assert found.of(picture) is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "[1", "is not valid JSON"),
        ("a.json", "[]", "is no COCO file of objects"),
        ("a.json", '{"images": []}', "is no COCO file of objects (KeyError: 'categories')"),
        ("a.txt", "", "name a COCO .json file, or a folder"),
        ("missing.json", None, "does not exist"),
        (".", None, "holds neither VOC files (.xml) nor masks (.png)"),
    ],
)
def test_files_that_hold_no_annotations_are_refused(
    tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(PictureError) as error:
        read_annotations(path)
    assert words in str(error.value)
    assert len(str(error.value)) <= 500


@pytest.mark.parametrize(
    "one",
    [
        {"bbox": [1, 2]},
        {"category_id": 9, "bbox": [0, 0, 1, 1]},
        {"segmentation": [[1, 2, 3]]},
        {"segmentation": [[0, 0, 1e30, 0, 1, 1]]},
        {"segmentation": [[0, 0, float("nan"), 0, 1, 1]]},
        {"segmentation": {"counts": "\x01", "size": [4, 5]}},
        {"segmentation": {"counts": [1], "size": [10**6, 10**6]}},
    ],
)
def test_malformed_objects_are_refused(tmp_path: Path, one: dict[str, Any]) -> None:
    with pytest.raises(PictureError, match="is no COCO file of objects"):
        read_annotations(coco_file(tmp_path, one))


def test_sizes_that_no_picture_has_are_refused(tmp_path: Path) -> None:
    for sides in ({"height": 0}, {"height": 10**6, "width": 10**6}, {"width": "wide"}):
        with pytest.raises(PictureError, match="is no COCO file of objects"):
            read_annotations(coco_file(tmp_path, **sides))


def test_a_mask_of_another_size_than_its_picture_is_refused(tmp_path: Path) -> None:
    path = coco_file(tmp_path, {"segmentation": {"counts": [5, 2, 13], "size": [4, 5]}})
    with pytest.raises(PictureError, match="is of 5 x 4 pixels, and the picture of 8 x 6"):
        inside(path)


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "declares entities or a document type"),
        ("<annotation>", "is no Pascal VOC file"),
        (VOC.replace("<xmin>3", "<xmin>x"), "is no Pascal VOC file"),
        (VOC.replace("<height>6", "<height>-6"), "is no Pascal VOC file"),
        (VOC.replace(">cat<", "> <"), "an object without a name"),
    ],
)
def test_damaged_voc_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "cat.xml").write_text(text)
    with pytest.raises(PictureError, match=words):
        inside(tmp_path)
