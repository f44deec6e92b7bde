"""Where objects are: masks, COCO and Pascal VOC."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxplain.errors import PictureError, TargetError
from onnxplain.metrics.annotations import Polygons, Runs, _decoded, read_annotations
from onnxplain.targets.described import ExplainedTarget

CAT = ExplainedTarget.of_class(7, "tabby, Tabby Cat")


def coco_file(folder: Path, *annotations: dict, **image: object) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "train/cat.jpg", "height": 4, "width": 5} | image],
        "categories": [{"id": 3, "name": "tabby cat"}, {"id": 4, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 3} | one for one in annotations],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


def inside(path: Path, size: tuple[int, int] = (4, 5), target: ExplainedTarget = CAT):
    return read_annotations(path).inside(Path("pictures/cat.jpg"), size, target).astype(int)


def test_boxes_of_coco_hold_the_pixels_whose_centers_they_hold(tmp_path) -> None:
    found = inside(coco_file(tmp_path, {"bbox": [0.6, 1, 2.0, 2]}, {"bbox": [4, 3, 1, 1]}))
    expected = [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert found.tolist() == expected


def test_objects_of_other_categories_do_not_count(tmp_path) -> None:
    path = coco_file(tmp_path, {"bbox": [0, 0, 1, 1]}, {"bbox": [0, 0, 5, 4], "category_id": 4})
    assert inside(path).sum() == 1
    with pytest.raises(TargetError, match="hold dog, tabby cat, and not '9_bird': name the class"):
        inside(path, target=ExplainedTarget.of_class(9, "bird"))
    with pytest.raises(PictureError, match=r"names no picture 'bird\.jpg'"):
        read_annotations(path).inside(Path("bird.jpg"), (4, 5), CAT)


def test_masks_of_coco_are_columns_first(tmp_path) -> None:
    """Runs 5, 2, 13: the sixth and seventh pixel of the columns, which are row 1 and 2 of 1."""
    runs = {"segmentation": {"counts": [5, 2, 13], "size": [4, 5]}}
    expected = np.zeros((4, 5), int)
    expected[1:3, 1] = 1
    np.testing.assert_array_equal(inside(coco_file(tmp_path, runs)), expected)
    packed = {"segmentation": {"counts": "52=", "size": [4, 5]}}
    np.testing.assert_array_equal(inside(coco_file(tmp_path, packed)), expected)


@pytest.mark.peers
def test_compressed_masks_are_those_of_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    drawn = np.random.default_rng(0).random((90, 70)) > 0.7
    drawn[20:60, 10:50] = True
    packed = mask.encode(np.asfortranarray(drawn.astype(np.uint8)))
    runs = Runs(tuple(_decoded(packed["counts"].decode())), (90, 70))
    np.testing.assert_array_equal(runs.mask((90, 70)), drawn)


def test_polygons_are_filled() -> None:
    """A rectangle from (1, 0) to (4, 3) holds the pixels 1 to 3 of the rows 0 to 2."""
    drawn = Polygons([[1, 0, 4, 0, 4, 3, 1, 3]]).mask((8, 8))
    assert drawn[0:3, 1:4].all()
    assert drawn.sum() <= 16  # OpenCV also fills pixels that the border touches


VOC = """<annotation><object><name>Tabby</name>
<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>"""


def test_voc_counts_from_1_and_includes_the_last_pixel(tmp_path) -> None:
    (tmp_path / "cat.xml").write_text(VOC)
    assert inside(tmp_path).sum(axis=0).tolist() == [0, 4, 4, 0, 0]


def test_a_mask_counts_for_every_target(tmp_path) -> None:
    drawn = np.zeros((4, 5), np.uint8)
    drawn[2, 3] = 255
    cv2.imwrite(str(tmp_path / "cat.png"), drawn)
    found = inside(tmp_path, target=ExplainedTarget("anything"))
    assert np.argwhere(found).tolist() == [[2, 3]]
    with pytest.raises(PictureError, match="has 5 x 4 pixels, and its picture 6 x 4"):
        inside(tmp_path, (4, 6))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "[1", "is not valid JSON"),
        ("a.json", "[]", "is no COCO file of objects"),
        ("a.json", '{"images": []}', "is no COCO file of objects (KeyError: 'categories')"),
        ("a.txt", "", "name a COCO .json file, or a folder"),
        ("missing.json", None, "does not exist"),
    ],
)
def test_files_that_hold_no_annotations_are_refused(tmp_path, name, text, words) -> None:
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
def test_malformed_objects_are_refused(tmp_path, one) -> None:
    with pytest.raises(PictureError, match="is no COCO file of objects"):
        read_annotations(coco_file(tmp_path, one))


def test_a_mask_of_another_size_is_refused(tmp_path) -> None:
    path = coco_file(tmp_path, {"segmentation": {"counts": [5, 2, 13], "size": [4, 5]}})
    with pytest.raises(PictureError, match="is of 5 x 4 pixels, and the picture of 6 x 4"):
        inside(path, (4, 6))


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "declares entities or a document type"),
        ("<annotation>", "is no Pascal VOC file"),
        (VOC.replace("<xmin>2", "<xmin>x"), "is no Pascal VOC file"),
        (VOC.replace("Tabby", " "), "an object without a name"),
    ],
)
def test_damaged_voc_files_are_refused(tmp_path, text, words) -> None:
    (tmp_path / "cat.xml").write_text(text)
    with pytest.raises(PictureError, match=words):
        inside(tmp_path)
