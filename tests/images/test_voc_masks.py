"""Pascal VOC's segmentation masks, which Pillow writes with their palette."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import PictureError
from onnxplain.images.annotations import Objects, read_annotations
from onnxplain.images.voc_masks import palette
from onnxplain.metrics.annotated import inside
from onnxplain.targets.described import ExplainedTarget
from onnxplain.tensors import Array

CAT, CAR, BORDER = 8, 7, 255
SIZE = 3, 5


def drawn(*places: tuple[int, int, int]) -> Array:
    """Indices, 0 but at places (row, column, index)."""
    indices = np.zeros(SIZE, np.uint8)
    for row, column, index in places:
        indices[row, column] = index
    return indices


def save(path: Path, indices: Array, colors: Array | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(indices)
    picture.putpalette((palette() if colors is None else colors).tobytes())
    picture.save(path)
    return path


def objects(folder: Path) -> Objects:
    found = read_annotations(folder).of("JPEGImages/7.jpg")
    assert found is not None
    return found


def places(found: Objects, category: str) -> list[list[list[int]]]:
    """The pixels of each object of a category."""
    own = [one for one in found.regions if one.category == category]
    return [np.argwhere(one.mask(SIZE)).tolist() for one in own]


CLASSES = drawn((0, 0, CAT), (0, 1, BORDER), (2, 4, CAT), (1, 3, CAR))


def test_the_palette_is_that_of_the_challenge() -> None:
    """The colors that its page shows for some classes, and for the border."""
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128)}
    known |= {7: (128, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: tuple(palette()[index].tolist()) for index in known} == known
    assert len(np.unique(palette(), axis=0)) == 256


def test_indices_are_classes_and_the_border_is_outside(tmp_path: Path) -> None:
    save(tmp_path / "SegmentationClass/7.png", CLASSES)
    found = objects(tmp_path / "SegmentationClass")
    assert places(found, "cat") == [[[0, 0], [2, 4]]]
    assert places(found, "car") == [[[1, 3]]]
    assert found.inside(SIZE).sum() == 3


def test_objects_have_the_class_of_the_same_file(tmp_path: Path) -> None:
    save(tmp_path / "SegmentationObject/7.png", drawn((0, 0, 1), (2, 4, 2), (1, 3, 30)))
    assert len(places(objects(tmp_path / "SegmentationObject"), "")) == 3
    save(tmp_path / "SegmentationClass/7.png", CLASSES)
    found = objects(tmp_path / "SegmentationObject")
    assert places(found, "cat") == [[[0, 0]], [[2, 4]]]
    assert places(found, "car") == [[[1, 3]]]


def test_a_metric_takes_the_explained_class(tmp_path: Path) -> None:
    save(tmp_path / "7.png", CLASSES)
    target = ExplainedTarget.of_class(3, "car")
    found = inside(read_annotations(tmp_path), Path("7.jpg"), SIZE, target)
    assert np.argwhere(found).tolist() == [[1, 3]]


def test_another_palette_is_a_mask_of_no_class(tmp_path: Path) -> None:
    gray = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    save(tmp_path / "7.png", CLASSES, gray)
    assert len(places(objects(tmp_path), "")[0]) == 4


def test_a_short_palette(tmp_path: Path) -> None:
    """Pillow writes as many colors as the largest index needs."""
    Image.fromarray(np.minimum(CLASSES, CAT)).save(tmp_path / "gray.png")
    indices = drawn((2, 2, CAT))
    picture = Image.fromarray(indices)
    picture.putpalette(palette()[:16].tobytes())
    picture.save(tmp_path / "7.png", bits=4)
    assert places(objects(tmp_path), "cat") == [[[2, 2]]]


def test_an_index_that_is_no_class_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "7.png", drawn((0, 0, 21)))
    with pytest.raises(PictureError, match="has the index 21, and VOC has 20 classes"):
        objects(tmp_path)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "7.png", CLASSES)
    with pytest.raises(PictureError, match="has 5 x 3 pixels, and its picture 6 x 3"):
        objects(tmp_path).inside((3, 6))
