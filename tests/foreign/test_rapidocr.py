"""The trained models of the wheel rapidocr-onnxruntime 1.4.4 (Apache-2.0): PaddleOCR's three steps.

The wheel is no dependency, as it asks for opencv-python next to opencv-python-headless. To run
these tests: `pip install --no-deps rapidocr-onnxruntime==1.4.4`. Its Python code is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny import Array

from onnxplain import Explainer, Explanation

WHEEL = find_spec("rapidocr_onnxruntime")
FOLDER = Path(WHEEL.origin or "").parent / "models" if WHEEL else Path()
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(WHEEL is None, reason="needs the files of rapidocr-onnxruntime"),
]


@dataclass(frozen=True)
class Drawn:
    """Text in black on white, and the columns of each of its characters."""

    picture: Array
    columns: tuple[slice, ...]


def line(text: str, width: int) -> Drawn:
    """A line of 48 pixels."""
    picture = np.full((48, width, 3), 255, np.uint8)
    font, size, thickness, x, columns = cv2.FONT_HERSHEY_SIMPLEX, 1.1, 3, 8, []
    for character in text:
        (wide, _), _ = cv2.getTextSize(character, font, size, thickness)
        cv2.putText(picture, character, (x, 36), font, size, (0, 0, 0), thickness, cv2.LINE_AA)
        columns.append(slice(x - 4, x + wide + 4))
        x += wide + 4
    return Drawn(picture, tuple(columns))


def heat(found: Explanation) -> Array:
    """The positive values of a map, on the pixels of the picture; `heatmap` is scaled to 0..1."""
    low, high = found.heatmap_range
    return np.maximum(low + found.heatmap * (high - low), 0)


def share(positive: Array, columns: slice) -> float:
    """How much of the heat is in these columns."""
    return float(positive[:, columns].sum() / positive.sum())


TEXT = "RT57"
LINE = line(TEXT, 120)


@pytest.fixture(scope="module")
def recognizer() -> Explainer:
    """PP-OCRv4, which was trained with CTC."""
    return Explainer(FOLDER / "ch_PP-OCRv4_rec_infer.onnx", provider="cpu")


def test_a_line_is_read(recognizer: Explainer) -> None:
    assert recognizer.answer().kind == "text"
    read = recognizer.recognized(LINE.picture)
    assert read.text == TEXT
    assert [character.label for character in read.characters] == list(TEXT)


@pytest.mark.parametrize(
    ("method", "options", "least"),
    [
        ("hirescam", {}, 0.9),
        ("occlusion", {"window": (48, 24), "stride": 4, "score": "probability"}, 0.45),
    ],
)
def test_the_heat_of_a_character_is_in_its_columns(
    recognizer: Explainer, method: str, options: dict[str, Any], least: float
) -> None:
    """A map that is the same everywhere has a quarter of its heat there."""
    targets = [f"char:{number}" for number in range(1, len(TEXT) + 1)]
    every = recognizer.explain_each(LINE.picture, method, targets, **options)
    for found, columns in zip(every, LINE.columns, strict=True):
        assert share(np.ones_like(found.heatmap), columns) < 0.27
        assert share(heat(found), columns) > least


def test_the_direction_of_a_line() -> None:
    """A classifier of 2 classes, whose names the file does not hold."""
    half, whole = (0.5, 0.5, 0.5), {"size": (48, 192), "fit": "stretch"}
    values = {"channels": "BGR", "scale": 1 / 255, "mean": half, "std": half}
    explainer = Explainer(
        FOLDER / "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        provider="cpu",
        labels=["upright", "turned"],
        preprocess=whole | values,
    )
    assert explainer.answer().kind == "classes"
    upright = line("Code 24", 192).picture
    for picture, label in ((upright, "upright"), (upright[::-1, ::-1].copy(), "turned")):
        found = explainer.explain(picture, "hirescam", score="probability")
        assert found.target.label == label
        assert found.score > 0.99
        # What lowers the score is the negative of what raises it.
        options: dict[str, Any] = {"window": 48, "stride": 48, "score": "logit"}
        raises, lowers = (
            explainer.explain(picture, "occlusion", target, **options).values
            for target in (label, f"not:{label}")
        )
        assert np.ptp(raises) > 0
        assert_allclose(lowers, -raises, atol=1e-5 * np.abs(raises).max())


SIZE = 128, 160
WORDS = ("Gate", (20, 50)), ("81", (90, 110))
ON_WORDS, BELOW = ("@48,42", "@108,100"), "@20,110"


@pytest.fixture(scope="module")
def detector() -> Explainer:
    """A probability of text in each pixel: one channel that ends in a sigmoid."""
    settings = {"size": SIZE, "fit": "stretch"}
    return Explainer(FOLDER / "ch_PP-OCRv4_det_infer.onnx", provider="cpu", preprocess=settings)


@pytest.fixture(scope="module")
def page() -> Array:
    page = np.full((*SIZE, 3), 255, np.uint8)
    for word, at in WORDS:
        cv2.putText(page, word, at, cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 2, cv2.LINE_AA)
    return page


def test_where_text_is(detector: Explainer, page: Array) -> None:
    """A logit of 3 is a probability of 95%."""
    answer = detector.answer()
    assert answer.kind == "class map"
    assert answer.words.startswith("a score for one class in 128 x 160 cells")
    *words, paper = detector.explain_each(page, "gradient", [*ON_WORDS, BELOW])
    assert min(found.score for found in words) > 3
    assert paper.score < -3


@pytest.mark.parametrize(
    ("method", "options", "least"),
    [("hirescam", {}, 0.8), ("occlusion", {"window": 32, "stride": 8}, 0.65)],
)
def test_the_heat_of_a_place_is_at_its_word(
    detector: Explainer, page: Array, method: str, options: dict[str, Any], least: float
) -> None:
    """One word is in the upper half of the page, the other one in the lower half."""
    every = detector.explain_each(page, method, ON_WORDS, **options)
    for found, half in zip(every, (slice(0, 64), slice(64, None)), strict=True):
        assert share(heat(found).T, half) > least
