"""Shares of heat in places, compared with what their definition says."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.reports.places import (
    AREAS,
    GRID,
    PLACES,
    evidence,
    outside_share,
    place_shares,
    shares,
)

WHOLE = slice(None), slice(None)


def test_even_heat_has_the_share_of_the_area() -> None:
    grid = shares(np.ones((48, 80), np.float32), WHOLE)
    for place, share in place_shares(grid[None]).items():
        assert share[0] == pytest.approx(AREAS[place])
    corners = [place for place in PLACES if "corner" in place]
    assert [AREAS[place] for place in corners] == [1 / 16] * 4
    assert AREAS["border"] == 1 - 0.75**2


@pytest.mark.parametrize(
    ("place", "row", "column"),
    [
        ("upper left corner", 0, 0),
        ("upper right corner", 0, -1),
        ("lower left corner", -1, 0),
        ("lower right corner", -1, -1),
        ("upper edge", 0, 32),
        ("lower edge", -1, 32),
        ("left edge", 32, 0),
        ("right edge", 32, -1),
    ],
)
def test_one_hot_pixel_is_in_its_place_and_in_the_border(place: str, row: int, column: int) -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[row, column] = 3
    found = place_shares(shares(heat, WHOLE)[None])
    assert {name for name, share in found.items() if share[0] > 0.99} == {place, "border"}


def test_the_grid_covers_what_the_model_saw() -> None:
    heat = np.zeros((100, 60), np.float32)
    heat[30:40, 10:20] = 1
    grid = shares(heat, (slice(30, 70), slice(10, 50)))
    assert grid[: GRID // 4, : GRID // 4].sum() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("size", [(7, 7), (16, 16), (33, 20), (5, 300)])
def test_heat_adds_up_to_one_at_any_size(size: tuple[int, int]) -> None:
    heat = np.random.default_rng(0).random(size).astype(np.float32)
    assert shares(heat, WHOLE).sum() == pytest.approx(1, abs=1e-5)


def test_no_heat_has_no_shares() -> None:
    assert shares(np.zeros((8, 8), np.float32), WHOLE) is None


def test_evidence_is_the_positive_part_and_of_scores_what_is_above_the_lowest() -> None:
    values = np.array([[-1, 2], [0, 3]], np.float32)
    assert evidence(values, "lrp").tolist() == [[0, 2], [0, 3]]
    assert evidence(values, "rise").tolist() == [[0, 3], [1, 4]]


def test_the_share_outside() -> None:
    heat = np.array([[1, 2], [3, 4]], np.float32)
    assert outside_share(heat, np.array([[True, False], [False, True]])) == pytest.approx(0.5)
    assert np.isnan(outside_share(np.zeros((2, 2), np.float32), np.ones((2, 2), bool)))
