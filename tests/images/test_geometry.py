import numpy as np
import pytest
from PIL import Image
from references.resize import upsample_half_pixel

from onnxplain.errors import PictureError
from onnxplain.images import geometry
from onnxplain.images.geometry import Placement, resize_and_place, upsample

RANDOM = np.random.default_rng(3)

# picture, model, arguments -> resized, offset; the rules worked by hand:
# torchvision's Resize truncates int(short * long / short), its CenterCrop takes
# int(round((size - crop) / 2)) with Python's half-to-even, and pads (crop - size) // 2 before.
CROPS = [
    ((300, 451), (224, 224), 256, (256, 384), (-16, -80)),
    ((451, 300), (224, 224), 256, (384, 256), (-80, -16)),
    ((100, 151), (4, 4), 10, (10, 15), (-3, -6)),  # 5.5 -> 6
    ((100, 131), (8, 8), 10, (10, 13), (-1, -2)),  # 2.5 -> 2
    ((100, 151), (14, 14), 10, (10, 15), (2, 0)),  # padded above, cropped by 0.5 -> 0
    ((100, 151), (15, 20), 10, (10, 15), (2, 2)),  # padded all round
    ((64, 32), (20, 20), (24, 24), (24, 24), (-2, -2)),  # stretched first
]
# Ultralytics: round(side * scale), then round(margin / 2 - 0.1).
LETTERBOXES = [
    ((480, 640), (640, 640), (480, 640), (80, 0)),
    ((481, 640), (640, 640), (481, 640), (79, 0)),
    ((1080, 810), (640, 640), (640, 480), (0, 80)),
    ((100, 333), (64, 96), (29, 96), (17, 0)),
    ((1, 1000), (32, 32), (1, 32), (15, 0)),
]
PLACEMENTS = {
    "crop, wide": Placement.crop((61, 97), (28, 28), 32),
    "crop, tall": Placement.crop((97, 61), (28, 28), 32),
    "crop, enlarged": Placement.crop((17, 23), (56, 56), 64),
    "crop, all": Placement.crop((50, 50), (50, 50), 50),
    "crop, padded": Placement.crop((61, 97), (40, 40), 32),
    "stretch, smaller": Placement.stretch((61, 97), (33, 17)),
    "stretch, larger": Placement.stretch((13, 9), (32, 64)),
    "stretch, mixed": Placement.stretch((13, 97), (32, 64)),
    "letterbox, wide": Placement.letterbox((61, 97), (32, 32)),
    "letterbox, tall": Placement.letterbox((97, 61), (32, 32)),
    "letterbox, enlarged": Placement.letterbox((9, 14), (32, 48)),
}
EACH_PLACEMENT = pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS.keys())
EACH_AXIS = pytest.mark.parametrize("axis", [0, 1])


@pytest.mark.parametrize(("picture", "model", "resize", "resized", "offset"), CROPS)
def test_crop_rounds_as_torchvision(picture, model, resize, resized, offset):
    assert Placement.crop(picture, model, resize) == Placement(picture, resized, offset, model)


@pytest.mark.parametrize(("picture", "model", "resized", "offset"), LETTERBOXES)
def test_letterbox_rounds_as_ultralytics(picture, model, resized, offset):
    assert Placement.letterbox(picture, model) == Placement(picture, resized, offset, model)


def along(axis, values, shape):
    """A map of `shape` that varies along one axis only."""
    return np.broadcast_to(values[:, None] if axis == 0 else values, shape).astype(np.float32)


def test_a_crop_maps_back_by_hand():
    # 20 x 40 -> 10 x 20, then the 6 x 6 at (2, 7): two picture pixels to a model pixel, and the
    # first model row shows picture rows 4 and 5, whose centers are at model rows 0.25 and 0.75.
    placement = Placement.crop((20, 40), (6, 6), 10)
    heat = np.zeros((6, 6), np.float32)
    heat[0, 5] = 1

    mapped = placement.to_picture(heat)

    rows = np.array([0, 0, 0, 0, 1, 0.75, 0.25] + [0] * 13)
    columns = np.zeros(40)
    columns[[23, 24, 25]] = [0.25, 0.75, 1]
    np.testing.assert_allclose(mapped, np.outer(rows, columns), atol=1e-6)
    covered = placement.covered()
    assert covered[4:16, 14:26].all()
    assert covered.sum() == 12 * 12


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 19), (11, 0), (11, 19), (6, 9)])
def test_a_pixel_finer_than_the_picture_maps_back_on_the_one_it_came_from(row, column):
    heat = np.zeros((12, 20), np.float32)
    heat[row, column] = 1

    mapped = Placement.stretch((3, 4), (12, 20)).to_picture(heat)

    expected = np.zeros((3, 4))
    expected[row // 4, column // 5] = 1 / 20
    np.testing.assert_allclose(mapped, expected, atol=1e-7)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 2), (3, 0), (3, 2), (1, 1)])
def test_a_pixel_coarser_than_the_picture_peaks_where_it_came_from(row, column):
    heat = np.zeros((4, 3), np.float32)
    heat[row, column] = 1

    mapped = Placement.stretch((12, 15), (4, 3)).to_picture(heat)

    # Linear interpolation of a unit at m between its neighbors is a tent around m + 1/2.
    def tent(size, factor, m):
        centers = np.clip((np.arange(size) + 0.5) / factor, 0.5, size / factor - 0.5)
        return np.maximum(0, 1 - np.abs(centers - (m + 0.5)))

    np.testing.assert_allclose(mapped, np.outer(tent(12, 3, row), tent(15, 5, column)), atol=1e-6)
    assert mapped[row * 3 + 1, column * 5 + 2] == 1


def test_equal_sizes_map_back_unchanged():
    heat = RANDOM.random((9, 7), np.float32)
    np.testing.assert_array_equal(Placement.stretch((9, 7), (9, 7)).to_picture(heat), heat)


@EACH_AXIS
@EACH_PLACEMENT
def test_model_coordinates_map_back_on_picture_coordinates(placement, axis):
    scale, offset = placement.scale[axis], placement.offset[axis]
    in_picture = (np.arange(placement.model[axis]) + 0.5 - offset) / scale
    shown = in_picture[placement.window(axis)]

    mapped = placement.to_picture(along(axis, in_picture, placement.model))

    covered = placement.covered()
    assert not mapped[~covered].any()
    # No model pixel lies beyond the outermost ones, so there their value holds.
    own = np.clip(np.arange(placement.picture[axis]) + 0.5, shown[0], shown[-1])
    tolerance = 1e-4 if scale <= 1 else 0.5 / scale
    expected = along(axis, own, placement.picture)
    np.testing.assert_allclose(mapped[covered], expected[covered], atol=tolerance)


@EACH_AXIS
@EACH_PLACEMENT
@pytest.mark.parametrize("interpolation", ["bilinear", "area", "antialias-bilinear"])
def test_there_and_back_a_ramp_stays_within_half_a_pixel(placement, axis, interpolation):
    ramp = along(axis, np.arange(placement.picture[axis]) + 0.5, placement.picture)
    picture = np.repeat(ramp[..., None], 3, axis=2)

    placed = resize_and_place(picture, placement, interpolation, pad=255)[..., 0]
    mapped = placement.to_picture(placed)

    # Leave out the border beyond the outermost centers, one model pixel or kernel wide.
    seen, margin = placement.seen(axis), int(np.ceil(1.5 / placement.scale[axis])) + 1
    inner = np.take(mapped - ramp, range(seen.start + margin, seen.stop - margin), axis)
    other = placement.seen(1 - axis)
    inner = np.take(inner, range(other.start, other.stop), 1 - axis)
    assert inner.size
    assert np.abs(inner).max() < 0.5


@EACH_PLACEMENT
def test_padding_enters_no_map_and_every_shown_pixel_does(placement):
    heat = np.full(placement.model, np.nan, np.float32)
    heat[placement.window(0), placement.window(1)] = 1

    mapped = placement.to_picture(heat)

    np.testing.assert_allclose(mapped, placement.covered(), atol=1e-6)


@EACH_PLACEMENT
def test_the_corners_of_what_was_shown_hold_its_corner_values(placement):
    heat = np.zeros(placement.model, np.float32)
    shown = heat[placement.window(0), placement.window(1)]
    corners = np.ix_([0, -1], [0, -1])
    shown[corners] = [[1, 2], [3, 4]]

    mapped = placement.to_picture(heat)[placement.seen(0), placement.seen(1)]

    # The corner pixel of the picture holds the corner value, or its share where it averages.
    share = mapped[corners] / [[1, 2], [3, 4]]
    np.testing.assert_allclose(share, share[0, 0], rtol=1e-5)
    if max(placement.scale) <= 1:
        assert share[0, 0] == pytest.approx(1, abs=1e-6)


@EACH_PLACEMENT
@pytest.mark.parametrize("grid", [(1, 1), (7, 7), (3, 50), (70, 9)])
def test_a_grid_is_laid_back_as_through_the_models_input(placement, grid):
    heat = RANDOM.standard_normal(grid).astype(np.float32)
    in_float64 = upsample_half_pixel(heat.astype(np.float64), placement.model)

    laid_back = placement.on_seen(heat)

    seen = placement.seen(0), placement.seen(1)
    np.testing.assert_allclose(laid_back, placement.to_picture(in_float64)[seen], atol=2e-6)
    np.testing.assert_array_equal(placement.on_canvas(laid_back)[seen], laid_back)
    assert not placement.on_canvas(laid_back)[~placement.covered()].any()


def test_a_map_of_another_size_is_a_mistake():
    with pytest.raises(ValueError, match="expected a map of shape"):
        PLACEMENTS["stretch, smaller"].to_picture(np.zeros((17, 33)))


def test_padding_is_filled_and_the_picture_is_whole():
    picture = RANDOM.random((4, 6, 3), np.float32) * 255
    placement = Placement.letterbox((4, 6), (6, 6))

    placed = resize_and_place(picture, placement, "bilinear", pad=114)

    np.testing.assert_array_equal(placed[1:5], picture)
    assert (placed[[0, 5]] == 114).all()


def test_overshoot_is_clipped():
    step = np.zeros((8, 8, 3), np.float32)
    step[:, 4:] = 255
    enlarged = resize_and_place(step, Placement.stretch((8, 8), (32, 32)), "bicubic", 0)
    assert enlarged.min() == 0
    assert enlarged.max() == 255


def test_an_elongated_picture_is_refused_before_it_fills_memory():
    sliver = np.zeros((1, 2_000_000, 3), np.float32)
    with pytest.raises(PictureError, match="too elongated"):
        resize_and_place(sliver, Placement.crop((1, 2_000_000), (224, 224), 256), "bilinear", 0)


BLOCKS = (np.arange(81, dtype=np.float32).reshape(9, 9) / 8) ** 2  # whose mean is off-center
OPENCV_SHRINKS = {
    "nearest": BLOCKS[1::3, 1::3],
    "bilinear": BLOCKS[1::3, 1::3],
    "area": BLOCKS.reshape(3, 3, 3, 3).mean(axis=(1, 3)),
}


@pytest.mark.parametrize("interpolation", OPENCV_SHRINKS)
def test_opencvs_filters_by_hand(interpolation):
    picture = np.repeat(BLOCKS[..., None], 3, axis=2)
    placed = resize_and_place(picture, Placement.stretch((9, 9), (3, 3)), interpolation, 0)
    np.testing.assert_allclose(placed[..., 1], OPENCV_SHRINKS[interpolation], atol=1e-4)


@pytest.mark.parametrize("size", [(13, 40), (64, 31), (37, 53), (100, 90), (1, 1)])
@pytest.mark.parametrize(
    ("interpolation", "pillow"),
    [
        ("antialias-bilinear", Image.Resampling.BILINEAR),
        ("antialias-bicubic", Image.Resampling.BICUBIC),
        ("antialias-lanczos", Image.Resampling.LANCZOS),
    ],
)
def test_antialiased_filters_are_pillows(interpolation, pillow, size):
    # Values that do not overflow if kernels overshoot, because only onnxplain clips.
    picture = 64 + 128 * RANDOM.random((37, 53, 3), np.float32)
    planes = [Image.fromarray(plane) for plane in np.moveaxis(picture, 2, 0)]
    expected = np.stack([plane.resize(size[::-1], pillow) for plane in planes], axis=2)

    placed = resize_and_place(picture, Placement.stretch((37, 53), size), interpolation, 0)

    np.testing.assert_allclose(placed, expected, atol=1e-3)


def test_a_part_of_a_wide_picture_is_pillows():
    """So wide that it is resized in several pieces."""
    picture = RANDOM.integers(0, 256, (48, 3000, 3), np.uint8)
    placement = Placement.crop((48, 3000), (20, 1300), 24)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(picture, 2, 0)]
    resized = [plane.resize((1500, 24), Image.Resampling.BILINEAR) for plane in planes]
    expected = np.stack([plane.crop((100, 2, 1400, 22)) for plane in resized], axis=2)

    placed = resize_and_place(picture, placement, "antialias-bilinear", 0)

    np.testing.assert_allclose(placed, expected, atol=1e-3)


def test_every_interpolation_keeps_a_constant():
    picture = np.full((17, 29, 3), 200, np.float32)
    for interpolation in geometry.INTERPOLATIONS:
        for size in ((5, 7), (40, 61)):
            placed = resize_and_place(
                picture, Placement.stretch((17, 29), size), interpolation, pad=0
            )
            np.testing.assert_allclose(placed, 200, atol=1e-3, err_msg=interpolation)


@pytest.mark.parametrize("size", [(56, 56), (224, 225), (3, 4), (7, 5)])
def test_upsampling_interpolates_between_half_pixel_centers(size):
    maps = RANDOM.standard_normal((2, 3, 7, 5)).astype(np.float32)

    def interpolate(values, length):
        step = len(values) / length
        return np.interp((np.arange(length) + 0.5) * step, np.arange(len(values)) + 0.5, values)

    expected = np.apply_along_axis(interpolate, -1, maps, size[1])
    expected = np.apply_along_axis(interpolate, -2, expected, size[0])

    np.testing.assert_allclose(upsample(maps, size), expected, atol=1e-5)
    np.testing.assert_allclose(upsample(maps[0, 0], size), expected[0, 0], atol=1e-5)
