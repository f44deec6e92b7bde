"""Heat is on the pixels of the picture from which the model's pixels were made."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from explainer.formulas import AS_IT_IS, Array, linear, model
from numpy.testing import assert_array_equal

from onnxplain import Explainer
from onnxplain.errors import MapError
from tools.cases import nets

End = tuple[int, int, int]
"""A row or column of the model's input, and the picture's that it was made from: first, past."""


@dataclass(frozen=True)
class Frame:
    """How a picture is fitted to the input, and where its first and last row and column are."""

    picture: tuple[int, int]
    size: tuple[int, int]
    rows: tuple[End, End]
    columns: tuple[End, End]
    fit: str
    resize: int | None = None

    def explainer(self, made: Any) -> Explainer:
        """An explainer that fits pictures in this way."""
        own = {"size": self.size, "fit": self.fit, "resize": self.resize}
        return Explainer(made, preprocess={**AS_IT_IS, "interpolation": "area", **own})

    def pixels(self, rows: tuple[End, End], columns: tuple[End, End]) -> Array:
        """Where the picture is made into the rows and columns from one end to another."""
        mask = np.zeros(self.picture, bool)
        mask[rows[0][1] : rows[1][2], columns[0][1] : columns[1][2]] = True
        return mask


FRAMES = {
    "stretched, three to one": Frame(
        (24, 30), (8, 10), ((0, 0, 3), (7, 21, 24)), ((0, 0, 3), (9, 27, 30)), "stretch"
    ),
    # Rows of 25 / 8, columns of 33 / 10: a pixel belongs where its center lies.
    "stretched, odd": Frame(
        (25, 33), (8, 10), ((0, 0, 3), (7, 22, 25)), ((0, 0, 3), (9, 30, 33)), "stretch"
    ),
    "enlarged, one to two": Frame(
        (4, 5), (8, 10), ((0, 0, 1), (7, 3, 4)), ((0, 0, 1), (9, 4, 5)), "stretch"
    ),
    "enlarged, odd": Frame(
        (3, 7), (8, 10), ((0, 0, 1), (7, 2, 3)), ((0, 0, 1), (9, 6, 7)), "stretch"
    ),
    # 9 x 15, of which three columns are cropped on each side: nine of the picture.
    "cropped, wide": Frame(
        (27, 45), (9, 9), ((0, 0, 3), (8, 24, 27)), ((0, 9, 12), (8, 33, 36)), "crop", 9
    ),
    "cropped, tall": Frame(
        (45, 27), (9, 9), ((0, 9, 12), (8, 33, 36)), ((0, 0, 3), (8, 24, 27)), "crop", 9
    ),
    # 9 x 14: two and a half columns are rounded to two on the left, as torchvision does.
    "cropped, half a pixel": Frame(
        (27, 42), (9, 9), ((0, 0, 3), (8, 24, 27)), ((0, 6, 9), (8, 30, 33)), "crop", 9
    ),
    # 11 x 15, of which one row and three columns are cropped.
    "cropped on all sides": Frame(
        (33, 45), (9, 9), ((0, 3, 6), (8, 27, 30)), ((0, 9, 12), (8, 33, 36)), "crop", 11
    ),
    # 16 x 10, of which rows 4 to 11 and columns 1 to 8 are kept. Rows of 61 / 16, so from 15.25 to
    # 45.75; columns of 37 / 10, so from 3.7 to 33.3. At a cut, pixels count that were seen in part.
    "cropped, odd": Frame(
        (61, 37), (8, 8), ((0, 15, 19), (7, 42, 46)), ((0, 3, 7), (7, 30, 34)), "crop", 10
    ),
    # 8 x 16, between four rows of padding above and below.
    "letterboxed, wide": Frame(
        (24, 48), (16, 16), ((4, 0, 3), (11, 21, 24)), ((0, 0, 3), (15, 45, 48)), "letterbox"
    ),
    "letterboxed, tall": Frame(
        (48, 24), (16, 16), ((0, 0, 3), (15, 45, 48)), ((4, 0, 3), (11, 21, 24)), "letterbox"
    ),
    # 16 x 7, the odd line of padding on the right or below; lines of 45 / 16.
    "letterboxed, odd and tall": Frame(
        (45, 21), (16, 16), ((0, 0, 3), (15, 42, 45)), ((4, 0, 3), (10, 18, 21)), "letterbox"
    ),
    "letterboxed, odd and wide": Frame(
        (21, 45), (16, 16), ((4, 0, 3), (10, 18, 21)), ((0, 0, 3), (15, 42, 45)), "letterbox"
    ),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_heat_of_a_border_lies_on_the_pixels_it_was_made_from(frame: Frame) -> None:
    """Each class is the sum of one border row or column of the model's input, minus the rest."""
    rows, columns = frame.rows, frame.columns
    lines = [((end, end), columns) for end in rows] + [(rows, (end, end)) for end in columns]
    weights = np.full((4, 3, *frame.size), -1, np.float32)
    for weight, ((top, bottom), (left, right)) in zip(weights, lines, strict=True):
        weight[:, top[0] : bottom[0] + 1, left[0] : right[0] + 1] = 1
    explainer = frame.explainer(linear(f"3,{frame.size[0]},{frame.size[1]}", weights))
    white = np.full((*frame.picture, 3), 255, np.uint8)
    found = explainer.explain_each(white, "occlusion", range(4), window=1, stride=1)
    for explanation, line in zip(found, lines, strict=True):
        # Heat is interpolated between the centers of two pixels of the model: the edge is at half.
        assert_array_equal(explanation.heatmap > 0.5, frame.pixels(*line))
        assert_array_equal(explanation.seen, frame.pixels(rows, columns))
        assert not explanation.heatmap[~explanation.seen].any()


@pytest.mark.parametrize("method", ["cam", "feature_maps", "reciprocam", "eigencam", "occlusion"])
@pytest.mark.parametrize(
    "frame",
    [
        "stretched, three to one",
        "cropped, wide",
        "cropped, tall",
        "cropped on all sides",
        "letterboxed, wide",
        "letterboxed, tall",
    ],
)
@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_lit_corner_of_what_the_model_sees_stays_where_it_is(
    method: str, frame: str, corner: tuple[int, int]
) -> None:
    """Both directions: the layer's grid is that of the input, and holds the picture unchanged."""
    laid = FRAMES[frame]
    row, column = laid.rows[corner[0]], laid.columns[corner[1]]
    lit = laid.pixels((row, row), (column, column))
    text = f"g (float[N,3,{laid.size[0]},{laid.size[1]}] x) => (float[N,1] y)"
    text += " { a = Conv(x, k) p = GlobalAveragePool(a) y = Flatten(p) }"
    options = {"window": 1, "stride": 1} if method == "occlusion" else {}
    found = laid.explainer(model(text, k=np.ones((1, 3, 1, 1)))).explain(
        np.repeat(lit[..., None], 3, axis=2) * np.uint8(200), method, 0, **options
    )
    # Three pixels to one: each has at least (2 / 3)^2 of the heat, a neighbor at most 1 / 3.
    assert_array_equal(found.heatmap > 0.4, lit)


def test_what_is_only_on_the_padding_is_not_drawn_on_the_picture() -> None:
    weights = np.zeros((1, 3, 16, 16), np.float32)
    weights[0, :, :3] = 1
    explainer = Explainer(
        linear("3,16,16", weights),
        preprocess={**AS_IT_IS, "size": 16, "fit": "letterbox", "pad": 114},
    )
    with pytest.raises(MapError, match="same everywhere"):
        explainer.explain(np.full((24, 48, 3), 255, np.uint8), "occlusion", window=1, stride=1)


def test_a_picture_of_one_pixel_has_nothing_to_show() -> None:
    explainer = Explainer(nets.net_r(), preprocess=AS_IT_IS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MapError, match="same everywhere"):
            explainer.explain(np.full((1, 1, 3), 90, np.uint8), "gradient", 1)


@pytest.mark.parametrize(("method", "top"), [("input_x_gradient", 0.0), ("rise", None)])
def test_a_map_without_a_positive_value_ends_at_zero(method: str, top: float | None) -> None:
    """Scores have no zero, so those of `rise` cover the whole range."""
    made = linear("3,8,8", np.full((1, 3, 8, 8), -1, np.float32))
    picture = np.arange(64, dtype=np.float32).reshape(8, 8) + 10
    options = {"samples": 40, "score": "logit"} if method == "rise" else {}
    found = Explainer(made, preprocess={**AS_IT_IS, "size": (8, 8)}).explain(
        picture, method, 0, **options
    )
    assert found.values.max() < 0
    highest = float(found.values.max()) if top is None else top
    assert found.heatmap_range[1] == pytest.approx(highest, rel=0.1)
