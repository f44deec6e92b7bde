"""Volumes, signals and rows."""

import numpy as np
import pytest

from onnxplain.errors import MapError
from onnxplain.results.comparison import draw_comparison
from onnxplain.results.data import ArrayFacts, ModelFacts, Provenance
from onnxplain.results.explanation import Explanation
from onnxplain.results.render.colormaps import colormap_table
from onnxplain.results.render.colors import Colors
from onnxplain.results.render.frame import PAPER, Caption
from onnxplain.results.render.row import draw_row
from onnxplain.results.render.signal import draw_signal
from onnxplain.results.render.volume import draw_volume, slices
from onnxplain.targets.described import ExplainedTarget

CAPTION = Caption("title", "score", "details")
WARM, COLD = tuple(colormap_table("inferno")[150]), (64, 156, 224)
"""Of bars above and below 0."""


def explanation(kind, heatmap, picture, scale=(0.0, 1.0), names=()):
    facts = ModelFacts(None, "00" * 32, 17, "x", ("y",))
    return Explanation(
        values=heatmap,
        heatmap=heatmap.astype(np.float32),
        heatmap_range=scale,
        picture=picture,
        method="occlusion",
        target=ExplainedTarget("7", 7),
        score=0.5,
        score_kind="logit",
        score_tensor="y",
        parameters={},
        provenance=Provenance(facts, {}, "CPUExecutionProvider", {}),
        array=ArrayFacts(kind, heatmap.shape, "float32", names=names),
    )


def test_all_slices_of_a_shallow_volume_and_evenly_spaced_ones_with_the_strongest_of_a_deep_one():
    heat = np.zeros((45, 3, 3), np.float32)
    assert slices(heat[:12], 0) == list(range(12))
    heat[19, 1, 1] = 1
    assert slices(heat, 0) == [0, 4, 8, 12, 16, 19, 24, 28, 32, 36, 40, 44]
    heat[:] = 0.5  # raw value 0: what is far below it counts, too
    heat[43] = 0
    assert slices(heat, 0.5)[-2:] == [40, 43]


def test_slices_have_the_colors_of_one_scale():
    """Each place is a square of 22 pixels, in the color of its heat on its gray."""
    heat = np.linspace(0, 1, 2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8)
    gray = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8).repeat(3, -1)
    drawn = draw_volume(explanation("volume", heat, gray), CAPTION, "inferno")
    colors = Colors("inferno", (0, 1))
    for i in range(2):
        expected = colors.blend(gray[i], heat[i]).repeat(22, 0).repeat(22, 1)
        found = [
            (row, column)
            for row in range(drawn.shape[0] - 175)
            for column in range(drawn.shape[1] - 175)
            if (drawn[row, column] == expected[0, 0]).all()
            and (drawn[row : row + 176, column : column + 176] == expected).all()
        ]
        assert len(found) == 1


def test_the_background_of_a_curve_is_its_heat():
    """At the edge, which no curve reaches; 9 places are 100 pixels each."""
    heat = np.arange(9, dtype=np.float32) / 8
    values = np.sin(np.arange(9, dtype=np.float32))[:, None]
    drawn = draw_signal(explanation("signal", heat, values), CAPTION, "inferno")
    gray = np.full((1, 9, 3), 128, np.uint8)
    expected = Colors("inferno", (0, 1)).blend(gray, heat[None])[0].repeat(100, 0)
    margin = (drawn.shape[1] - 900) // 2
    rows = [row for row in drawn if (row[margin : margin + 900] == expected).all()]
    assert len(rows) > 4


def test_a_short_peak_of_a_long_signal_is_seen():
    heat = np.zeros(90_000, np.float32)
    heat[40_000] = 1
    drawn = draw_signal(explanation("signal", heat, heat[:, None]), CAPTION, "inferno")
    gray = np.full((1, 1, 3), 128, np.uint8)
    peak = Colors("inferno", (0, 1)).blend(gray, np.ones((1, 1), np.float32))[0, 0]
    assert (drawn == peak).all(-1).sum() > 30


def test_many_channels_are_rows_with_the_first_at_the_bottom():
    """Without heat, a channel is as bright as its value."""
    values = np.tile(np.arange(8, dtype=np.float32), (30, 1))
    heat = np.zeros(30, np.float32)
    heat[0] = 1
    drawn = draw_signal(explanation("signal", heat, values), CAPTION, "inferno")
    column = drawn[:, drawn.shape[1] // 2, 0].astype(int)
    start = np.flatnonzero(column != PAPER)[0]
    bright = column[start + 20 : start + 320 : 40]
    assert (np.diff(bright) < 0).all()


def bars(drawn, color):
    """Length and left end of the bars of a color, from top to bottom, without the legend."""
    lines = (drawn[:, 270:] == color).all(-1)
    found = []
    for line in lines:
        columns = np.flatnonzero(line)
        bar = (len(columns), int(columns[0])) if columns.size else None
        if bar and (not found or found[-1] != bar):
            found.append(bar)
    return found


def test_bars_are_as_long_as_values_and_the_largest_come_first():
    raw = np.array([1.0, -4, 2, 0, 3])
    heat = (raw + 4) / 7
    drawn = draw_row(
        explanation("row", heat, np.arange(5.0)[:, None], (-4, 3), tuple("abcde")),
        CAPTION,
        "inferno",
    )
    warm, cold = bars(drawn, WARM), bars(drawn, COLD)
    unit = cold[0][0] / 4
    assert [length for length, _ in warm] == pytest.approx([3 * unit, 2 * unit, unit], abs=1.5)
    zero = {left for _, left in warm}
    assert len(zero) == 1
    assert abs(cold[0][0] + cold[0][1] - zero.pop()) <= 1


def test_only_the_twenty_largest_features_are_drawn():
    heat = np.linspace(0, 1, 50)
    drawn = draw_row(explanation("row", heat, heat[:, None]), CAPTION, "inferno")
    assert len(bars(drawn, WARM)) == 20


def test_maps_that_are_no_pictures_are_not_drawn_side_by_side():
    row = explanation("row", np.linspace(0, 1, 5), np.zeros((5, 1)))
    with pytest.raises(MapError, match="on pictures and scenes, and this is a row"):
        draw_comparison([row])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_leave_gaps(value):
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    values[3] = value
    for picture in (values, np.tile(values, (1, 5))):
        drawn = draw_signal(
            explanation("signal", np.linspace(0, 1, 10), picture), CAPTION, "inferno"
        )
        assert drawn.dtype == np.uint8
