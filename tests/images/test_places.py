import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tiny import noise

from onnxplain.errors import MapError
from onnxplain.images.geometry import Placement
from onnxplain.images.places import Places


def test_a_grid_along_one_axis_is_interpolated_between_the_centers_of_its_cells():
    grid = noise(5)
    centers = (np.arange(5) + 0.5) * 23 / 5
    expected = np.interp(np.arange(23) + 0.5, centers, grid)
    assert_allclose(Places((23,)).on_seen(grid), expected, atol=1e-6)


def test_rows_and_columns_are_enlarged_as_those_of_pictures():
    grid = noise(3, 4)
    found = Places((17, 9)).on_seen(grid)
    assert_allclose(found, Placement.stretch((17, 9), (17, 9)).on_seen(grid), atol=1e-6)
    assert_allclose(found, cv2.resize(grid, (9, 17), interpolation=cv2.INTER_LINEAR), atol=1e-6)


def test_each_axis_of_a_volume_is_enlarged():
    """A product of functions of one axis each stays one."""
    sizes, cells = (8, 9, 10), (2, 3, 5)
    axes = [noise(n, seed=n) for n in cells]
    found = Places(sizes).on_seen(np.einsum("i,j,k->ijk", *axes))
    large = [Places((size,)).on_seen(axis) for size, axis in zip(sizes, axes, strict=True)]
    assert_allclose(found, np.einsum("i,j,k->ijk", *large), atol=1e-6)


def test_a_map_of_the_same_size_is_not_changed():
    assert_array_equal(Places((3, 4, 5)).on_seen(noise(3, 4, 5)), noise(3, 4, 5))


def test_a_map_of_another_rank_is_refused():
    with pytest.raises(MapError, match=r"shape \(3, 4\), and the array \(12,\) places"):
        Places((12,)).on_seen(noise(3, 4))
