"""Maps without heatmaps: the same values, and the same maps are refused."""

import numpy as np
import pytest
from explainer.formulas import noise_picture
from numpy.testing import assert_array_equal

from onnxplain import Explainer
from onnxplain.errors import MapError
from onnxplain.explainer.heat import ROUNDING, shows_something
from onnxplain.images.geometry import Placement
from onnxplain.images.places import Places

PICTURES = [noise_picture(20, 26), noise_picture(31, 18)]


@pytest.mark.parametrize("method", ["gradcam", "gradient", "occlusion"])
def test_values_and_facts_are_those_of_an_explanation(net_r: Explainer, method: str) -> None:
    options = {"window": 8} if method == "occlusion" else {}
    drawn = net_r.try_many(PICTURES, method, "top2", **options)
    alone = net_r.try_values(PICTURES, method, "top2", **options)
    for explanations, maps in zip(drawn, alone, strict=True):
        for explanation, found in zip(explanations, maps, strict=True):
            assert_array_equal(found.values, explanation.values)
            same = ("target", "score", "predicted", "layers", "passes", "size", "source")
            assert [getattr(found, name) for name in same] == [
                getattr(explanation, name) for name in same
            ]


def test_a_map_that_shows_nothing_is_refused_too(net_r: Explainer) -> None:
    black = np.zeros((20, 26, 3), np.uint8)
    for found in (
        net_r.try_many([black], "occlusion", 0),
        net_r.try_values([black], "occlusion", 0),
    ):
        ((error,),) = found
        assert isinstance(error, MapError)
        assert "is the same everywhere" in str(error)


@pytest.mark.parametrize("seed", range(20))
def test_a_map_that_passes_the_fast_check_shows_something_on_the_picture(seed: int) -> None:
    """The values are at random, and the heatmap is that of the slow way."""
    random = np.random.default_rng(seed)
    rows, columns = random.integers(1, 9, 2)
    height, width = random.integers(1, 40, 2)
    placement = Placement.stretch((int(height), int(width)), (16, 24))
    heat = random.choice([-1.0, 1.0], (rows, columns)).astype(np.float32)
    if shows_something(heat, placement):
        seen = placement.on_seen(heat)
        assert seen.max() - seen.min() >= (heat.max() - heat.min()) / 8


def test_where_the_fast_check_is_not_sure() -> None:
    heat = np.array([[0.0, 0.0], [0.0, 1.0]], np.float32)
    assert shows_something(heat, Placement.stretch((8, 8), (4, 4)))
    assert not shows_something(heat, Placement.stretch((3, 8), (4, 4)))
    assert not shows_something(heat, Placement.letterbox((8, 20), (4, 4)))
    assert not shows_something(heat, Places((2, 2)))
    assert not shows_something(
        np.full((2, 2), np.nan, np.float32), Placement.stretch((8, 8), (4, 4))
    )
    nearly = np.array([[1.0, 1.0 + 4 * ROUNDING]], np.float32)
    assert not shows_something(nearly, Placement.stretch((8, 8), (4, 4)))
