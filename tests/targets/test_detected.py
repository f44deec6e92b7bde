"""The boxes of one sample: which are kept, and where they are on the picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny import Array

from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.images.geometry import Placement
from onnxplain.targets.boxes import Box
from onnxplain.targets.described import ExplainedBox
from onnxplain.targets.detections import detected

AS_IT_IS = Placement.stretch((100, 200), (100, 200))


def found(boxes: list[list[float]], scores: Array, placement: Placement = AS_IT_IS) -> list[Box]:
    corners = np.array(boxes, np.float32).T
    return list(detected(corners, scores.astype(np.float32), None, placement, None).boxes)


def test_where_boxes_are_on_the_picture() -> None:
    """x_model = 0.8 x + 3 and y_model = 0.5 y + 6; what is outside of the picture is left out."""
    placement = Placement((100, 200), (50, 160), (6, 3), (64, 166))
    boxes = [[83, 31, 123, 41], [147, -4, 171, 16]]
    places = [box.place for box in found(boxes, np.array([[0.9, 0.8]]), placement)]
    sides = [(place.x, place.y, place.width, place.height) for place in places]
    assert sides == [(100, 50, 50, 20), (180, 0, 20, 20)]


@pytest.mark.parametrize(
    ("second", "is_kept"),
    [([62, 50, 72, 60], True), ([54, 50, 64, 60], True), ([52, 50, 62, 60], False)],
)
def test_of_boxes_that_overlap_much_the_best_is_kept(second: list[float], is_kept: bool) -> None:
    """The intersection over union is 0, 3/7 and 2/3. The other class keeps its boxes."""
    boxes = [[50, 50, 60, 60], second]
    kept = found(boxes, np.array([[0.9, 0.8], [0, 0.5]]))
    names = ["0", "0#2", "1"] if is_kept else ["0", "1"]
    assert [box.name for box in kept] == names


def test_only_rows_of_the_class_match_where_each_row_has_one() -> None:
    boxes = np.array([[[0, 0, 8, 8], [0, 0, 8, 4]]], np.float32).swapaxes(1, 2)
    scores, labels = np.array([[[0.9, 0.4]]]), np.array([[[3.0, 5.0]]])
    for index, score, match in ((3, 0.9, 0.9), (5, 0.4, 0.4 / 2), (7, 0, 0)):
        box = Box(index, (0, 0, 8, 8), ExplainedBox(0, 0, 8, 8, 0.9), has_labels=True)
        for target, expected in ((box, score), (box.of_changed, match)):
            given = target.parameters((4, 2), (1, 2), (1, 2))
            got = target.formula(NUMPY, boxes, scores, labels, **given)
            assert_allclose(got, [expected], rtol=1e-6)
