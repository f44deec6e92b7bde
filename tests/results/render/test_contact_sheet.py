import numpy as np
import pytest

from onnxplain.errors import MapError
from onnxplain.results.render.frame import Caption, frame, page_for
from onnxplain.results.render.sheet import contact_sheet


def noise(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def in_order(channels, height, width, base=50):
    """Channels that differ in the position of their only bright pixel."""
    maps = np.zeros((channels, height * width), np.float32)
    maps[np.arange(channels), np.arange(channels) % (height * width)] = base
    return maps.reshape(channels, height, width)


def test_one_channel_is_scaled_and_enlarged_by_whole_pixels():
    """(v - min) / (max - min) x 255, each cell a square of 128 pixels."""
    maps = np.array([[[-1.0, 0.0], [1.0, 3.0]]], np.float32)
    sheet = contact_sheet(maps)
    cells = sheet[2 : 2 + 256, 2 : 2 + 256]
    expected = np.array([[0, 64], [128, 255]], np.uint8)  # 63.75 and 127.5 to the nearest, even
    np.testing.assert_array_equal(
        cells, np.kron(expected, np.ones((128, 128)))[..., None].repeat(3, 2)
    )


def test_every_channel_has_its_own_scale_and_a_constant_one_is_black():
    maps = np.stack([noise(4, 4) * 1e-6, noise(4, 4) * 1e6, np.full((4, 4), 5, np.float32)])
    sheet = contact_sheet(maps)
    tiles = [sheet[2:258, 2:258], sheet[2:258, 260:516]]
    assert all((tile.min(), tile.max()) == (0, 255) for tile in tiles)
    assert (sheet[274:530, 2:258] == 0).all()


def test_channels_run_along_the_rows():
    sheet = contact_sheet(in_order(4, 2, 2))
    bright = [sheet[top : top + 256, left : left + 256, 0] for top in (2, 274) for left in (2, 260)]
    corners = [np.argwhere(tile == 255).min(axis=0) // 128 for tile in bright]
    np.testing.assert_array_equal(corners, [(0, 0), (0, 1), (1, 0), (1, 1)])


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1),
        (1280, 7, 7),
        (5000, 14, 14),
        (512, 224, 224),
        (64, 112, 112),
        (7, 3, 200),
        (1198, 14, 3),
        (3, 200, 3),
    ],
)
def test_the_sheet_stays_a_reasonable_picture(shape):
    assert max(contact_sheet(np.zeros(shape, np.float32)).shape) <= 2060


@pytest.mark.parametrize("channels", [16, 64, 500, 1280, 4096])
def test_square_channels_make_a_nearly_square_sheet(channels):
    height, width, _ = contact_sheet(noise(channels, 8, 8)).shape
    assert 0.6 < width / height < 1.7


def test_large_maps_are_averaged_not_sampled():
    """Rows that alternate between black and white become gray; sampling would keep both colors."""
    maps = np.zeros((1024, 128, 128), np.float32)
    maps[:, ::2] = 1
    first = contact_sheet(maps)[2:40, 2:40]
    assert 80 < first.min() <= first.max() < 175


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_maps_that_are_not_finite_are_refused(bad):
    maps = noise(3, 4, 4)
    maps[1, 2, 3] = bad
    with pytest.raises(MapError, match="not finite"):
        contact_sheet(maps)


def test_the_caption_goes_above_an_unchanged_sheet():
    sheet = contact_sheet(noise(16, 7, 7))
    framed = frame(sheet, Caption("layer", "", "feature_maps"), [], page_for(sheet))
    left = (framed.shape[1] - sheet.shape[1]) // 2
    bottom = next(
        r
        for r in range(framed.shape[0], 0, -1)
        if (framed[r - sheet.shape[0] : r, left : left + sheet.shape[1]] == sheet).all()
    )
    assert (framed[: bottom - sheet.shape[0]] < 100).any()
