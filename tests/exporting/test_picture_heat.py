"""Heatmaps from nodes are those of `to_heatmap`."""

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from numpy.testing import assert_allclose
from tiny import Array, noise, run

from onnxplain.errors import MapError
from onnxplain.explainer.heat import to_heatmap
from onnxplain.exporting.picture_heat import heatmap_nodes
from onnxplain.formulas.graph_namespace import GraphNamespace
from onnxplain.images.geometry import Placement
from onnxplain.transforms.builder import PREFIX, Builder

TOLERANCE = 2e-6


def heatmaps(
    maps: Array, size: tuple[int, int], has_zero: bool = True
) -> tuple[Array, Sequence[int]]:
    """The heatmaps and statuses of the nodes."""
    graph = gs.Graph(opset=18)
    g = Builder(graph)
    shape = ["batch", *maps.shape[1:]]
    heat = GraphNamespace(g).array(g.input("maps", shape), shape)
    graph.outputs = list(heatmap_nodes(g, heat, size, has_zero))
    for output, dtype in zip(graph.outputs, (np.float32, np.int64), strict=True):
        output.dtype = np.dtype(dtype)
    heatmap, status = run(gs.export_onnx(graph, do_type_check=False), {PREFIX + "maps": maps})
    assert heatmap.shape == (len(maps), *size)
    return heatmap, status.tolist()


def expected(heat: Array, size: tuple[int, int], has_zero: bool = True) -> Array:
    canvas = Placement.stretch(size, size)
    return to_heatmap(heat, canvas, "a method", has_zero=has_zero)[0]


@pytest.mark.parametrize("has_zero", [True, False])
@pytest.mark.parametrize("grid", [(7, 7), (1, 9), (5, 1), (20, 33), (64, 48)])
def test_maps_of_a_batch_are_scaled_each_by_its_own_values(
    grid: tuple[int, int], has_zero: bool
) -> None:
    size = (20, 33)
    maps = noise(4, *grid) + np.float32([-9, 0, 3, 0])[:, None, None]
    maps[3] *= 1e-6
    heatmap, status = heatmaps(maps, size, has_zero)
    assert status == [0, 0, 0, 0]
    for got, heat in zip(heatmap, maps, strict=True):
        assert_allclose(got, expected(heat, size, has_zero), atol=TOLERANCE)


def test_a_map_without_positive_values_keeps_1_for_zero() -> None:
    maps = np.float32([[[-4, -2]]])
    assert_allclose(heatmaps(maps, (1, 2))[0], [[[0, 0.5]]])
    assert_allclose(heatmaps(maps, (1, 2), has_zero=False)[0], [[[0, 1]]])


@pytest.mark.parametrize(
    "heat, code, reason",
    [
        ([[3.0, 3.0], [3.0, 3.0]], 1, "same everywhere"),
        ([[0.0, 0.0], [0.0, 0.0]], 1, "same everywhere"),
        ([[3.0, 3.0], [3.0, 3.000001]], 1, "same everywhere"),
        ([[np.nan, 1.0], [2.0, 3.0]], 2, "not finite"),
        ([[1.0, 1.0], [1.0, np.nan]], 2, "not finite"),
        ([[np.inf, 1.0], [2.0, 3.0]], 2, "not finite"),
        ([[0.0, -np.inf], [0.0, 0.0]], 2, "not finite"),
    ],
)
@pytest.mark.parametrize("size", [(2, 2), (9, 8)])
def test_the_status_says_why_a_map_shows_nothing(
    heat: list[list[float]], code: int, reason: str, size: tuple[int, int]
) -> None:
    """The maps beside it are not affected."""
    good = noise(2, 2)
    maps = np.stack([good, np.float32(heat), good])
    with pytest.raises(MapError, match=reason):
        expected(maps[1], size)
    heatmap, status = heatmaps(maps, size)
    assert status == [0, code, 0]
    assert not heatmap[1].any()
    for got in heatmap[::2]:
        assert_allclose(got, expected(good, size), atol=TOLERANCE)
