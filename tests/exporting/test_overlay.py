"""The overlay that nodes draw has the pixels of `Colors.blend`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from exporting.picture_models import Parts, picture_graph, ran, session
from tiny import Array, noise

from onnxplain.errors import OptionError
from onnxplain.exporting.overlay import overlay_nodes
from onnxplain.exporting.picture_heat import picture_heatmap_nodes, seen_heat_nodes
from onnxplain.exporting.picture_input import PictureInput
from onnxplain.formulas.graph_namespace import GraphArray
from onnxplain.images.picture import read_pixels
from onnxplain.images.preprocess import Preprocess
from onnxplain.results.render.colormaps import COLORMAPS
from onnxplain.results.render.colors import Colors
from onnxplain.transforms.builder import Builder

SHIPPED = sorted(Path("models/pictures").glob("*.[pj][np]g"))
GRID = noise(7, 7)
CROP = Preprocess((224, 224), fit="crop", resize=256)
ROUNDED = 1e-3
"""Largest share of values that differ by 1: float32 decides how halves are rounded."""


def drawing(heat: Array, colormap: str = "inferno") -> Parts:
    """Outputs a map's heatmap, the values that became 0 and 1, and the overlay."""

    def parts(g: Builder, made: PictureInput) -> Mapping[str, tuple[gs.Tensor, type]]:
        array = GraphArray(g, g.constant(heat[None]), (1, *heat.shape))
        seen = seen_heat_nodes(g, array, made.placement, True)
        drawn = overlay_nodes(g, made.picture, seen, made.placement, colormap)
        return {
            "heatmap": (picture_heatmap_nodes(g, seen, made.placement), np.float32),
            "low": (seen.low, np.float32),
            "high": (seen.high, np.float32),
            "overlay": (drawn, np.uint8),
        }

    return parts


def check(picture: Array, preprocess: Preprocess, got: Mapping[str, Array], colormap: str) -> None:
    colors = Colors(colormap, (got["low"].item(), got["high"].item()))
    seen = preprocess.place(picture.shape[:2]).covered()
    expected = colors.blend(picture, np.where(seen, got["heatmap"][0], np.float32(colors.zero)))
    assert got["overlay"].dtype == np.uint8
    assert got["overlay"].shape == picture.shape
    difference = np.abs(got["overlay"].astype(int) - expected)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= ROUNDED * difference.size


@pytest.mark.parametrize("shift", [0, -9, 9], ids=["signed", "negative", "positive"])
@pytest.mark.parametrize(
    "preprocess",
    [CROP, Preprocess((64, 96)), Preprocess((96, 96), fit="letterbox")],
    ids=lambda preprocess: preprocess.fit,
)
@pytest.mark.parametrize("picture", SHIPPED, ids=lambda path: path.name)
def test_shipped_pictures(picture: Path, preprocess: Preprocess, shift: int) -> None:
    pixels = read_pixels(picture)
    runs = session(picture_graph(preprocess, drawing(GRID + np.float32(shift))))
    check(pixels, preprocess, ran(runs, pixels), "inferno")


@pytest.mark.parametrize("colormap", COLORMAPS)
@pytest.mark.parametrize("optimized", [True, False])
def test_all_colormaps_and_odd_sizes(colormap: str, optimized: bool) -> None:
    runs = session(picture_graph(CROP, drawing(GRID, colormap)), optimized=optimized)
    for size in ((97, 131), (7, 500), (500, 7), (301, 299)):
        picture = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)
        check(picture, CROP, ran(runs, picture), colormap)


def test_a_map_that_shows_nothing_mixes_no_color_into_the_photograph() -> None:
    picture = read_pixels(SHIPPED[0])
    for heat in (np.full((7, 7), -2, np.float32), np.full((7, 7), np.nan, np.float32)):
        got = ran(session(picture_graph(CROP, drawing(heat))), picture)
        expected = Colors("inferno", (0, 1)).blend(picture, np.zeros(picture.shape[:2], np.float32))
        assert np.abs(got["overlay"].astype(int) - expected).max() <= 1


def test_the_model_is_a_valid_file_of_standard_operators() -> None:
    graph = picture_graph(CROP, drawing(GRID))
    model = gs.export_onnx(graph, do_type_check=False)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    onnx.checker.check_model(inferred, full_check=True)
    assert {node.domain for node in graph.nodes} <= {None, ""}


def test_no_such_colormap() -> None:
    with pytest.raises(OptionError, match="There is no colormap 'rainbow'"):
        picture_graph(CROP, drawing(GRID, "rainbow"))
