"""Places of the picture on the grid of a segmenter's output."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from onnxplain.errors import TargetError
from onnxplain.images.geometry import Placement
from onnxplain.targets.places import place

SAME = Placement.stretch((6, 8), (6, 8))
# 40 x 20 pixels at half their size, of whose 20 x 10 the middle is kept: pixel (x, y) of the
# picture begins at (x / 2 - 5, y / 2) of the 10 x 10 that the model sees. A cell is 2 x 2 of those.
CROPPED = Placement.crop((20, 40), (10, 10), 10)
# 8 x 4 pixels in the middle rows of a square: rows 2 to 5.
BOXED = Placement.letterbox((4, 8), (8, 8))


def cells(found: Any) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in np.argwhere(found)]


def test_a_box_is_x_y_width_height() -> None:
    expected = np.zeros((6, 8), bool)
    expected[1:3, 4:7] = True
    assert_array_equal(place("box:4,1,3,2", SAME, (6, 8)), expected)
    assert cells(place("7,0", SAME, (6, 8))) == [(0, 7)]


@pytest.mark.parametrize(
    ("text", "placement", "grid", "expected"),
    [
        # Centers of columns of cells lie over x = 12, 16, 20, 24, 28, and of rows over y = 2, 6...
        ("box:16,2,5,5", CROPPED, (5, 5), [(0, 1), (0, 2), (1, 1), (1, 2)]),
        ("box:17,2,3,5", CROPPED, (5, 5), [(0, 1), (0, 2), (1, 1), (1, 2)]),  # between centers
        ("20,0", CROPPED, (5, 5), [(0, 2)]),
        ("29,19", CROPPED, (5, 5), [(4, 4)]),
        ("box:-5,-5,16,16", CROPPED, (5, 5), [(r, 0) for r in (0, 1, 2)]),
        # An output finer than the input.
        ("20,2", CROPPED, (20, 20), [(2, 10)]),
        ("box:0,0,2,1", BOXED, (8, 8), [(2, 0), (2, 1)]),
        ("box:0,0,8,4", BOXED, (4, 4), [(r, c) for r in (1, 2) for c in range(4)]),
    ],
)
def test_places_follow_the_picture_through_preprocessing(
    text: str, placement: Placement, grid: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert cells(place(text, placement, grid)) == expected


def test_a_mask_is_what_is_not_black_in_any_color(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[1, 2], pixels[5, 7, 0] = 255, 1
    file = tmp_path / "mask.png"
    cv2.imwrite(str(file), pixels)
    assert cells(place(str(file), SAME, (6, 8))) == [(1, 2), (5, 7)]
    with pytest.raises(TargetError, match=r"has 8 x 6 pixels, and the picture 40 x 20"):
        place(str(file), CROPPED, (5, 5))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(TargetError, match=r"The mask cannot be used: .*text\.png is not a picture"):
        place(str(tmp_path / "text.png"), SAME, (6, 8))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("40,3", r"'40,3' holds no pixel of the picture, which has 40 x 20"),
        ("box:3,3,0,9", "holds no pixel"),
        ("box:50,3,4,4", "holds no pixel"),
        ("box:0,0,9,20", r"preprocessing crops.*does not see it.*--fit letterbox"),
        ("box:1,2,3", r"A box is box:X,Y,WIDTH,HEIGHT in pixels, and this is 'box:1,2,3'"),
        ("mask.png", "no such file"),
    ],
)
def test_places_that_are_none(text: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        place(text, CROPPED, (5, 5))


def test_a_place_needs_a_picture() -> None:
    with pytest.raises(TargetError, match="needs a picture"):
        place("1,1", None, (5, 5))
    with pytest.raises(TargetError, match="needs a picture"):
        place("1,1", SAME, (5,))
