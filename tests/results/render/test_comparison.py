import numpy as np
import pytest

from onnxplain.errors import MapError, OptionError
from onnxplain.results.data import ExplanationData, ModelFacts, Provenance
from onnxplain.results.render.colors import Colors
from onnxplain.results.render.comparison import TargetRow, comparison
from onnxplain.targets.described import ExplainedTarget

GRAY = np.full((40, 60, 3), 128, np.uint8)


def blue_over_red(pixels):
    return pixels[..., 2].astype(int) - pixels[..., 0]


def test_what_speaks_for_is_warm_what_speaks_against_is_cold_and_zero_is_the_photograph():
    heat = np.float32([[0, 0.25, 1]])  # means -1, 0 and 3
    against, nothing, most = Colors("inferno", (-1, 3)).blend(GRAY[:1, :3], heat)[0].astype(int)
    assert blue_over_red(against) > 20
    assert blue_over_red(most) < -20
    assert np.ptp(nothing) <= 1
    assert nothing.max() < min(most.max(), 128)


def test_equal_evidence_for_and_against_is_equally_strong():
    """-1 is as strong as a third of 3, however the range lies around zero."""
    colors = Colors("inferno", (-1, 3))
    third = np.float32([[0.0, 0.25 + 0.25]])  # means -1 and 1
    against, for_it = colors.blend(GRAY[:1, :2], third)[0].astype(int)
    faded = Colors("inferno", (-3, 1)).blend(GRAY[:1, :2], np.float32([[0.5, 1.0]]))[0]
    np.testing.assert_allclose(faded, [against, for_it], atol=2)


@pytest.mark.parametrize("scale", [(0, 1), (2, 5), (-5, -2)])
def test_values_of_one_sign_use_the_whole_range(scale):
    ramp = np.linspace(0, 1, 60, dtype=np.float32)[None]
    shown = Colors("inferno", scale).blend(GRAY[:1], ramp)
    np.testing.assert_array_equal(shown, Colors("inferno", (0, 1)).blend(GRAY[:1], ramp))


def cell(heatmap, scale=(0.0, 1.0)):
    model = ModelFacts(None, "00" * 32, 13, "x", ("y",))
    return ExplanationData(
        values=heatmap,
        heatmap=heatmap,
        heatmap_range=scale,
        picture=np.zeros((*heatmap.shape, 3), np.uint8),
        method="cam",
        target=ExplainedTarget("7", 7),
        score=0.5,
        score_kind="logit",
        score_tensor="y",
        parameters={},
        provenance=Provenance(model, {}, "CPUExecutionProvider", {}),
    )


def row(*cells, title="tiger cat"):
    return TargetRow(title, "logit 9.3", cells)


def test_a_table_has_a_column_for_each_method_and_a_row_for_each_target():
    heat = np.zeros((40, 60), np.float32)
    heat[10:30, 20:40] = 1
    names = [("cam", "1 forward"), ("rise", "4,000 forwards")]
    one = comparison(GRAY, names[:1], [row(cell(heat))], "inferno")
    two = comparison(GRAY, names, [row(cell(heat), None)], "inferno")
    four = comparison(GRAY, names, [row(cell(heat), cell(heat))] * 2, "inferno")
    assert two.shape[1] - one.shape[1] == one.shape[1] - 10 - 234
    assert two.shape[0] == one.shape[0] < four.shape[0] < 2 * two.shape[0]
    np.testing.assert_array_equal(two[:, : one.shape[1]], one)


def test_a_single_bright_pixel_survives_being_made_smaller():
    heat = np.zeros((2240, 2240), np.float32)
    heat[1117, 1003] = 1
    picture = np.full((2240, 2240, 3), 128, np.uint8)
    cold = comparison(picture, [("", "")], [row(cell(np.zeros_like(heat)))], "inferno").astype(int)
    shown = comparison(picture, [("", "")], [row(cell(heat))], "inferno").astype(int)
    assert np.abs(shown - cold).max() > 60


def test_what_was_not_seen_is_not_taken_for_evidence_against():
    """There the heat is 0, which in a signed map would mean the lowest value."""
    seen = np.zeros((40, 60), bool)
    seen[:, 20:40] = True
    heat = np.where(seen, 0.5, 0).astype(np.float32)  # means 0 at all seen pixels
    shown = comparison(GRAY, [("", "")], [row(cell(heat, (-1, 1)))], "inferno", seen)
    inside = shown[50:150, 10 + 234 + 80 : 10 + 234 + 144]
    assert np.ptp(blue_over_red(inside)) == 0


def test_an_unknown_colormap_is_refused():
    with pytest.raises(OptionError, match="no colormap 'no'"):
        comparison(GRAY, [("", "")], [row(cell(np.zeros((40, 60), np.float32)))], "no")


def test_explanations_of_several_pictures_are_no_comparison():
    from onnxplain import draw_comparison

    with pytest.raises(MapError, match="of one picture"):
        draw_comparison([])
