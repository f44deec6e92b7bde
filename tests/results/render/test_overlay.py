import cv2
import numpy as np
import pytest

from onnxplain.errors import OptionError
from onnxplain.results.render.colormaps import COLORMAPS, DEFAULT_COLORMAP, colormap_table
from onnxplain.results.render.colors import Colors
from onnxplain.results.render.frame import Caption, Page
from onnxplain.results.render.overlay import laid_over, overlay

CAPTION = Caption("tiger cat", "logit 12.83", "scorecam · layer /head/Conv")
NO_CAPTION = Caption("", "", "")


def lightness(rgb):
    """CIE L* of sRGB colors, uint8 (..., 3)."""
    c = rgb / 255.0
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


def dip(levels):
    """The largest drop of a sequence below its earlier maximum."""
    return (np.maximum.accumulate(levels) - levels).max()


def gray(height, width, level=128):
    return np.full((height, width, 3), level, np.uint8)


def cold(height, width):
    return np.zeros((height, width), np.float32)


def difference(one, other):
    return np.abs(one.astype(int) - other).sum(axis=2)


def test_lightness_agrees_with_opencv():
    table = colormap_table("jet")
    lab = cv2.cvtColor(table[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    np.testing.assert_allclose(lightness(table), lab[0, :, 0], atol=0.2)


def test_the_default_colors_get_steadily_lighter():
    levels = lightness(colormap_table(DEFAULT_COLORMAP))
    assert (np.diff(levels) > 0).all()
    assert levels[-1] - levels[0] > 90


@pytest.mark.parametrize("photograph", [0, 64, 128, 192, 255])
def test_hotter_is_lighter_on_any_photograph(photograph):
    """Up to 3 units of L*, a difference that nobody sees; jet falls by 30 and more."""
    ramp = np.repeat(np.linspace(0, 0.499, 600, dtype=np.float32)[None], 400, axis=0)
    ends = [ramp, ramp + np.float32(0.501)]  # in two halves: no outline in the first

    def drawn(colormap):
        rows = [
            overlay(gray(400, 600, photograph), heat, NO_CAPTION, (0, 1), colormap=colormap)
            for heat in ends
        ]
        middle = [lightness(image[200, 30:570]) for image in rows]
        return np.concatenate(middle)

    levels = drawn(DEFAULT_COLORMAP)
    assert dip(levels) < 3.2
    assert levels[-1] - levels[0] > 30
    assert dip(drawn("jet")) > 20


@pytest.mark.parametrize("name", COLORMAPS)
def test_every_colormap_is_in_rgb_order(name):
    ramp = np.arange(256, dtype=np.uint8)[None]
    bgr = cv2.applyColorMap(ramp, getattr(cv2, f"COLORMAP_{name.upper()}"))
    np.testing.assert_array_equal(colormap_table(name), cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)[0])


def test_an_unknown_colormap():
    with pytest.raises(OptionError, match=r"'rainbow'.*inferno"):
        overlay(gray(9, 9), cold(9, 9), CAPTION, (0, 1), colormap="rainbow")


@pytest.mark.parametrize(
    ("height", "width", "row", "column", "factor"),
    [(64, 64, 20, 45, 8), (100, 150, 70, 11, 3), (600, 800, 123, 456, 1), (300, 40, 250, 30, 2)],
)
def test_heat_lies_exactly_on_its_pixel(height, width, row, column, factor):
    """The center of the change by one hot pixel is the center of that pixel in the picture."""
    heat = cold(height, width)
    heat[row, column] = 1
    heat_only = overlay(gray(height, width), heat, NO_CAPTION, (0, 1))
    plain = overlay(gray(height, width), cold(height, width), NO_CAPTION, (0, 1))
    rows, columns = np.nonzero(difference(heat_only, plain))
    heat_center = (rows.min() + rows.max(), columns.min() + columns.max())

    marked = gray(height, width)
    marked[row, column] = 255
    drawn = overlay(marked, cold(height, width), NO_CAPTION, (0, 1))
    rows, columns = np.nonzero(difference(drawn, plain))
    assert (rows.size, np.ptp(rows) + 1, np.ptp(columns) + 1) == (factor**2, factor, factor)
    pixel_center = (rows.min() + rows.max(), columns.min() + columns.max())
    assert heat_center == pixel_center


def test_where_it_is_cold_the_photograph_stays_visible():
    """Every pixel of the photograph is there, in order, dimmed by one known factor."""
    rng = np.random.default_rng(0)
    picture = np.repeat(rng.integers(0, 256, (400, 600, 1), np.uint8), 3, axis=2)
    drawn = overlay(picture, cold(400, 600), NO_CAPTION, (0, 1))[..., 0]
    expected = 0.6 * picture[..., 0]
    left = (drawn.shape[1] - 600) // 2
    candidates = [drawn[top : top + 400, left : left + 600] for top in range(drawn.shape[0] - 399)]
    assert min(np.abs(window - expected).max() for window in candidates) <= 2


def test_a_hot_region_is_outlined_and_speckle_is_not():
    region, speckle = cold(600, 600), cold(600, 600)
    region[200:400, 200:400] = 1
    speckle[::7, ::7] = 1
    plain = overlay(gray(600, 600), cold(600, 600), NO_CAPTION, (0, 1))
    with_outline = overlay(gray(600, 600), region, NO_CAPTION, (0, 1))
    with_speckle = overlay(gray(600, 600), speckle, NO_CAPTION, (0, 1))

    def nearly_white_inside(image):
        return (image[60:560, 60:560] > 200).all(axis=2).sum()

    assert nearly_white_inside(plain) == nearly_white_inside(with_speckle) == 0
    assert 4 * 180 < nearly_white_inside(with_outline) < 4 * 420
    assert with_outline.shape[0] > with_speckle.shape[0] == plain.shape[0]  # it has a legend


@pytest.mark.parametrize("photograph", [0, 128, 255])
def test_what_the_model_did_not_see_is_hatched(photograph):
    seen = np.ones((600, 600), bool)
    seen[:, :100] = False
    heat = np.full((600, 600), 0.3, np.float32)
    picture = gray(600, 600, photograph)
    plain = overlay(picture, heat, NO_CAPTION, (0, 1))
    drawn = overlay(picture, heat, NO_CAPTION, (0, 1), seen=seen)
    left = (drawn.shape[1] - 600) // 2
    top = next(r for r in range(plain.shape[0]) if (plain[r, left + 300] != 255).any())
    photo = slice(top, top + 600)
    np.testing.assert_array_equal(
        drawn[photo, left + 100 : left + 600], plain[photo, left + 100 : left + 600]
    )
    colors = np.unique(drawn[photo, left : left + 100].reshape(-1, 3), axis=0)
    dark, light = colors  # stripes of two colors, whatever the heat
    assert np.ptp(dark) == np.ptp(light) == 0  # and both are gray
    assert lightness(light) - lightness(dark) > 8


def test_a_mask_that_hides_nothing_changes_nothing():
    everything = np.ones((50, 60), bool)
    drawn = overlay(gray(50, 60), cold(50, 60), CAPTION, (0, 1), seen=everything)
    np.testing.assert_array_equal(drawn, overlay(gray(50, 60), cold(50, 60), CAPTION, (0, 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"title": "tabby"},
        {"score": "logit 12.84"},
        {"details": "scorecam · layer /head/Mul"},
    ],
)
def test_every_part_of_the_caption_is_above_the_picture(change):
    parts = {"title": "tiger cat", "score": "logit 12.83", "details": "scorecam · layer /head/Conv"}
    picture, heat = gray(300, 451), cold(300, 451)
    one = overlay(picture, heat, Caption(**parts), (0, 1))
    other = overlay(picture, heat, Caption(**(parts | change)), (0, 1))
    rows = np.nonzero(difference(one, other).any(axis=1))[0]
    top = next(r for r in range(one.shape[0]) if (one[r] == gray(1, 1, 76)[0, 0]).all(axis=1).any())
    assert rows.size
    assert rows.max() < top


LONG = "great white shark, white shark, man-eater, man-eating shark, Carcharodon "


@pytest.mark.parametrize(
    ("caption", "other"),
    [
        (Caption(LONG + "carcharias", "", ""), Caption(LONG + "carchariae", "", "")),
        (Caption(LONG, "logit 12.83", ""), Caption(LONG, "logit 12.84", "")),
        (Caption("", "", LONG + "carcharias"), Caption("", "", LONG + "carchariae")),
    ],
)
def test_a_long_label_goes_on_in_the_next_line(caption, other):
    """Text that does not fit on the first line is still drawn: changing it changes the drawing."""
    one, two = (overlay(gray(500, 500), cold(500, 500), c, (0, 1)) for c in (caption, other))
    assert (one != two).any()


def test_a_line_break_in_a_label_is_a_space():
    one, two = (
        overlay(gray(50, 50), cold(50, 50), Caption(label, "", ""), (0, 1))
        for label in ("two\nwords", "two words")
    )
    np.testing.assert_array_equal(one, two)


def test_the_scale_is_written_below_the_picture():
    picture, heat = gray(300, 451), cold(300, 451)
    one = overlay(picture, heat, CAPTION, (0, 1))
    other = overlay(picture, heat, CAPTION, (0, 2))
    rows, columns = np.nonzero(difference(one, other))
    assert rows.min() > one.shape[0] - 40
    assert columns.min() > 0.9 * one.shape[1]  # the upper end, at the right


def test_the_value_at_the_outline_is_written_where_there_is_one():
    heat = cold(300, 451)
    heat[100:200, 100:300] = 1
    one = overlay(gray(300, 451), heat, CAPTION, (0, 1))
    other = overlay(gray(300, 451), heat, CAPTION, (0, 2))
    _, columns = np.nonzero(difference(one, other))
    assert ((columns > 0.4 * one.shape[1]) & (columns < 0.6 * one.shape[1])).any()


LABELS = ["x" * 400, "word " * 100, "", "two\nlines\tand\x00more", "虎猫 🐈 größe", " "]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (20, 3000), (3000, 20)])
def test_no_label_and_no_shape_breaks_the_layout(label, shape):
    """The margin stays white on all sides, so nothing crosses the edge."""
    caption = Caption(label, label, label)
    drawn = overlay(gray(*shape), cold(*shape), caption, (-1.23456e-30, 9.87654e30))
    for edge in (drawn[:6], drawn[-6:], drawn[:, :6], drawn[:, -6:]):
        assert (edge == 255).all()
    assert drawn.shape[1] >= 300


def drawn(heat, scale=(0, 1), seen=None):
    page = Page(width=heat.shape[1], text=15)
    return laid_over(gray(*heat.shape), heat, scale, page, colormap="inferno", seen=seen)


def test_a_map_of_single_pixels_is_drawn_on_a_dark_copy_up_to_a_percentile():
    """One pixel of a hundred times the others' size would leave those without a color."""
    random = np.random.default_rng(0)
    heat = random.uniform(0, 0.01, (224, 224)).astype(np.float32)
    heat[100, 100] = 1
    found = drawn(heat)
    assert found.plain
    assert not found.outlined
    low, high = found.colors.scale
    assert low == 0
    assert high == pytest.approx(np.percentile(heat, 97), rel=1e-4)
    brightest = found.picture.max(axis=-1)[heat > 0.0098]
    assert brightest.min() > 3 * found.picture.max(axis=-1)[heat < 0.0002].max()
    assert "97th percentile" in found.legend(Page(width=224, text=15))[0][1]


@pytest.mark.parametrize("factor", [1, 6])
@pytest.mark.parametrize("form", ["grid", "pixels"])
def test_maps_are_told_apart_by_what_they_show_and_not_by_their_size(form, factor):
    random = np.random.default_rng(1)
    small = random.random((7, 7) if form == "grid" else (224, 224), np.float32)
    size = (224 * factor, 224 * factor)
    assert drawn(cv2.resize(small, size)).plain == (form == "pixels")


def test_one_hot_cell_of_a_grid_is_no_map_of_single_pixels():
    small = np.zeros((16, 16), np.float32)
    small[5, 9] = 1
    assert not drawn(cv2.resize(small, (128, 128))).plain


def test_a_map_without_a_positive_value_is_cold():
    """The lowest value has the strongest color, and the value 0 none."""
    ramp = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (200, 1))
    colors = Colors("inferno", (-3, 0))
    blended = colors.blend(np.full((200, 200, 3), 128, np.uint8), ramp).astype(int)
    assert (blended[:, 0, 2] > blended[:, 0, 0] + 20).all(), "blue where it is lowest"
    assert np.ptp(blended[:, -1], axis=-1).max() <= 2, "gray where it is 0"
    assert not colors.outlines


@pytest.mark.parametrize(("low", "outlined"), [(-1.9, True), (-2.1, False), (0, True)])
def test_the_little_that_is_positive_is_not_outlined(low, outlined):
    values = np.full((200, 200), low, np.float32)
    values[50:150, 50:150] = 1
    heat = (values - low) / (1 - low)
    assert drawn(heat, (low, 1)).outlined == outlined
