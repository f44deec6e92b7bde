"""Where the explained class is, by annotations."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxplain.errors import PictureError, TargetError
from onnxplain.images.annotations import (
    Annotations,
    BoxShape,
    Coco,
    Objects,
    Region,
    read_annotations,
)
from onnxplain.metrics.annotated import inside
from onnxplain.targets.described import ExplainedTarget

CAT = ExplainedTarget.of_class(7, "tabby, Tabby Cat")
PICTURE = Path("pictures/cat.jpg")


def annotated(*regions: Region) -> Annotations:
    return Coco(Path("coco.json"), {Path("cat.jpg"): Objects(regions, (4, 5))})


LEFT, RIGHT = BoxShape(0, 0, 1, 4), BoxShape(4, 0, 5, 4)


@pytest.mark.parametrize("category", ["tabby cat", "Tabby", "7"])
def test_objects_of_the_class_count(category: str) -> None:
    known = annotated(Region(category, LEFT), Region("dog", RIGHT))
    assert inside(known, PICTURE, (4, 5), CAT).sum(axis=0).tolist() == [4, 0, 0, 0, 0]


def test_objects_without_a_category_count_for_every_target(tmp_path: Path) -> None:
    drawn = np.zeros((4, 5), np.uint8)
    drawn[2, 3] = 255
    cv2.imwrite(str(tmp_path / "cat.png"), drawn)
    found = inside(read_annotations(tmp_path), PICTURE, (4, 5), ExplainedTarget("anything"))
    assert np.argwhere(found).tolist() == [[2, 3]]


def test_a_class_that_is_not_annotated_is_refused() -> None:
    known = annotated(Region("tabby cat", LEFT), Region("dog", RIGHT))
    with pytest.raises(TargetError, match="hold dog, tabby cat, and not '9_bird': name the class"):
        inside(known, PICTURE, (4, 5), ExplainedTarget.of_class(9, "bird"))


def test_a_picture_that_is_not_annotated_is_refused() -> None:
    with pytest.raises(PictureError, match=r"coco\.json has no annotations of bird\.jpg"):
        inside(annotated(), Path("bird.jpg"), (4, 5), CAT)


def test_annotations_of_another_size_are_refused() -> None:
    """It may be a part of the picture that was annotated."""
    with pytest.raises(PictureError, match="are of 5 x 4 pixels, and the picture is of 6 x 4"):
        inside(annotated(Region("7", LEFT)), PICTURE, (4, 6), CAT)
