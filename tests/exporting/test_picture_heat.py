"""Heatmaps from nodes are those of `to_heatmap`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from exporting.picture_models import picture_graph, ran, session
from numpy.testing import assert_allclose
from tiny import Array, noise, run

from onnxplain.errors import MapError
from onnxplain.explainer.heat import to_heatmap
from onnxplain.exporting.picture_heat import (
    heatmap_nodes,
    picture_heatmap_nodes,
    scaled_nodes,
    seen_heat_nodes,
)
from onnxplain.exporting.picture_input import PictureInput
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.images.geometry import Placement, Size
from onnxplain.images.preprocess import Preprocess
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
    made = heatmap_nodes(g, heat, size, has_zero)
    graph.outputs = [made.heat, made.status]
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


FITS: Mapping[str, Mapping[str, Any]] = {
    "stretch": {"size": (64, 96)},
    "crop": {"size": (64, 56), "fit": "crop", "resize": 70},
    "crop with padding": {"size": (97, 71), "fit": "crop", "resize": 61},
    "crop of a stretched picture": {"size": (97, 70), "fit": "crop", "resize": (110, 60)},
    "letterbox": {"size": (80, 64), "fit": "letterbox"},
}

PICTURES = [(1, 1), (2, 3), (7, 500), (500, 7), (33, 41), (64, 96), (70, 80), (480, 640)]


def picture_heatmaps(
    preprocess: Preprocess, heat: Array, sizes: Sequence[Size], has_zero: bool, optimized: bool
) -> list[dict[str, Array]]:
    """The outputs of the nodes for pictures of these sizes."""

    def parts(g: Builder, made: PictureInput) -> dict[str, tuple[gs.Tensor, type]]:
        array = GraphArray(g, g.constant(heat[None]), (1, *heat.shape))
        seen = seen_heat_nodes(g, array, made.placement, has_zero)
        return {
            "heatmap": (picture_heatmap_nodes(g, seen, made.placement), np.float32),
            "status": (seen.status, np.int64),
            "low": (seen.low, np.float32),
            "high": (seen.high, np.float32),
        }

    runs = session(picture_graph(preprocess, parts), optimized=optimized)
    return [ran(runs, np.zeros((*size, 3), np.uint8)) for size in sizes]


@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("has_zero", [True, False])
@pytest.mark.parametrize("grid", [(7, 7), (1, 5), (64, 71), None])
@pytest.mark.parametrize("fit", FITS)
def test_a_map_is_enlarged_to_the_pixels_of_the_picture(
    fit: str, grid: Size | None, has_zero: bool, optimized: bool
) -> None:
    """The grid None is the model's input; of 64 x 71 one side is that of an input."""
    preprocess = Preprocess(**FITS[fit])
    heat = noise(*(grid or preprocess.trial_size)) - np.float32(3 if has_zero else 0)
    found = picture_heatmaps(preprocess, heat, PICTURES, has_zero, optimized)
    for size, got in zip(PICTURES, found, strict=True):
        canvas = preprocess.place(size)
        try:
            heatmap, (low, high) = to_heatmap(heat, canvas, "a method", has_zero=has_zero)
        except MapError:
            assert got["status"].tolist() == [1], size
            assert not got["heatmap"].any(), size
            continue
        assert got["status"].tolist() == [0], size
        assert_allclose(got["heatmap"], heatmap[None], atol=5e-6, err_msg=str(size))
        assert_allclose([got["low"].item(), got["high"].item()], [low, high], atol=1e-6)


@pytest.mark.parametrize("fit", FITS)
def test_padding_does_not_hide_that_a_map_is_not_finite(fit: str) -> None:
    """As in `to_heatmap`, also values count that no pixel of the picture shows."""
    preprocess = Preprocess(**FITS[fit])
    heat = noise(*preprocess.trial_size)
    heat[0, 0] = np.nan
    for got in picture_heatmaps(preprocess, heat, PICTURES, True, True):
        assert got["status"].tolist() == [2]
        assert not got["heatmap"].any()


def test_maps_that_are_not_shown_have_a_status_of_their_own() -> None:
    maps, given_status = noise(4, 4, 5), np.array([0, 3, 0, 2])
    maps[2] = np.nan
    graph = gs.Graph(opset=18)
    g = Builder(graph)
    given = g.constant(maps)
    scaled = scaled_nodes(g, given, given, True).unless(g, g.constant(given_status))
    graph.outputs = [scaled.heat, scaled.status]
    for output, dtype in zip(graph.outputs, (np.float32, np.int64), strict=True):
        output.dtype = np.dtype(dtype)
    heat, status = run(gs.export_onnx(graph, do_type_check=False), {})
    assert status.tolist() == [0, 3, 2, 2]
    assert_allclose(heat[0], expected(maps[0], (4, 5)), atol=TOLERANCE)
    assert not heat[1:].any()
