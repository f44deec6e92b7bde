"""The input that nodes make from a picture is that of `Preprocess.apply`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from exporting.picture_models import picture_graph, ran, session
from numpy.testing import assert_allclose
from tiny import Array

from onnxplain.errors import PreprocessError
from onnxplain.images.geometry import INTERPOLATIONS
from onnxplain.images.picture import read_pixels
from onnxplain.images.preprocess import Preprocess

SHIPPED = sorted(Path("models/pictures").glob("*.[pj][np]g"))

TOLERANCE = 0.003 if cv2.ipp.useIPP() else 0.06
"""In gray levels. Without Intel's library OpenCV rounds positions to float32 for more filters."""

SIZES = [(1, 1), (2, 3), (7, 500), (500, 7), (97, 101), (333, 250), (480, 640), (448, 448)]
"""Heights and widths."""

FITS: Mapping[str, Mapping[str, Any]] = {
    "stretch": {"size": (224, 192)},
    "crop": {"size": (128, 120), "fit": "crop", "resize": 150},
    "crop with padding": {"size": (97, 131), "fit": "crop", "resize": 58, "pad": 9.0},
    "crop of its own side": {"size": (97, 131), "fit": "crop"},
    "crop of a stretched picture": {"size": (97, 120), "fit": "crop", "resize": (110, 100)},
    "letterbox": {"size": (160, 224), "fit": "letterbox", "pad": 114.0},
}


def drawn(height: int, width: int) -> Array:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def tensors(preprocess: Preprocess, *pictures: Array, optimized: bool = True) -> list[Array]:
    runs = session(picture_graph(preprocess, dtype=preprocess.dtype.type), optimized=optimized)
    return [ran(runs, picture)["x"] for picture in pictures]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_pictures_of_any_size_are_resized_and_placed_alike(interpolation: str, fit: str) -> None:
    preprocess = Preprocess(interpolation=interpolation, **FITS[fit])
    pictures = [drawn(*size) for size in SIZES]
    for picture, tensor in zip(pictures, tensors(preprocess, *pictures), strict=True):
        expected, _ = preprocess.apply(picture)
        assert_allclose(tensor, expected, rtol=0, atol=TOLERANCE, err_msg=str(picture.shape))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_large_picture(interpolation: str) -> None:
    """Positions above 1024 need more than float32."""
    picture = drawn(1500, 2000)
    for size in ((299, 333), (1501, 1999)):
        preprocess = Preprocess(size, interpolation=interpolation)
        (tensor,) = tensors(preprocess, picture)
        assert_allclose(tensor, preprocess.apply(picture)[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_picture_smaller_than_the_filter(interpolation: str) -> None:
    """OpenCV rounds its positions to float32."""
    preprocess = Preprocess((224, 641), interpolation=interpolation)
    picture = drawn(1, 1999)
    (tensor,) = tensors(preprocess, picture)
    assert_allclose(tensor, preprocess.apply(picture)[0], rtol=0, atol=0.06)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_without_optimizations_the_result_is_the_same(interpolation: str) -> None:
    """An optimization that changes the rounding of a position can change a pixel."""
    preprocess = Preprocess(interpolation=interpolation, **FITS["letterbox"])
    pictures = [drawn(*size) for size in SIZES]
    for plain, optimized in zip(
        tensors(preprocess, *pictures, optimized=False), tensors(preprocess, *pictures), strict=True
    ):
        assert_allclose(plain, optimized, rtol=0, atol=1e-3)


@pytest.mark.parametrize("height, width", [(100, 100), (448, 448), (218, 170), (330, 78)])
def test_opencv_averages_only_if_no_side_is_enlarged(height: int, width: int) -> None:
    preprocess, picture = Preprocess((110, 640), interpolation="area"), drawn(height, width)
    (tensor,) = tensors(preprocess, picture)
    assert_allclose(tensor, preprocess.apply(picture)[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("old, new", [(14, 58), (22, 50), (21, 87)])
def test_borders_that_rounding_puts_on_either_side(old: int, new: int) -> None:
    """An exact border of two pixels is a little less than that in float64."""
    preprocess, picture = Preprocess((new, 40), interpolation="area"), drawn(old, 40)
    (tensor,) = tensors(preprocess, picture)
    assert_allclose(tensor, preprocess.apply(picture)[0], rtol=0, atol=TOLERANCE)


def test_opencv_leaves_out_a_thousandth_of_a_pixel() -> None:
    preprocess, picture = Preprocess((1000, 7), interpolation="area"), drawn(2001, 7)
    (tensor,) = tensors(preprocess, picture)
    assert_allclose(tensor, preprocess.apply(picture)[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "channels, mean, std",
    [
        ("RGB", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("BGR", (0.4, 0.5, 0.3), (0.2, 0.3, 0.4)),
        ("BGR", (0.5,), (1.0,)),
        ("GRAY", (0.1307,), (0.3081,)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_channels_are_normalized_in_the_models_order_and_layout(
    layout: str, channels: str, mean: tuple[float, ...], std: tuple[float, ...], dtype: type
) -> None:
    preprocess = Preprocess(
        (40, 56),
        layout=layout,
        channels=channels,
        mean=mean,
        std=std,
        scale=1 / 255,
        dtype=np.dtype(dtype),
        interpolation="antialias-bicubic",
    )
    picture = read_pixels(SHIPPED[0])
    (tensor,) = tensors(preprocess, picture)
    expected, _ = preprocess.apply(picture)
    assert tensor.dtype == expected.dtype
    step = TOLERANCE / 255 / min(std)
    rounding = 2 * np.finfo(np.float16).eps if dtype == np.float16 else 1e-6
    assert_allclose(tensor, expected, rtol=rounding, atol=step)


@pytest.mark.parametrize(
    "dtype, scale, mean, std",
    [(np.uint8, 1.0, 0.0, 1.0), (np.uint8, 2.0, 40.0, 1.5), (np.int8, 1.0, 128.0, 1.0)],
)
@pytest.mark.parametrize("picture", SHIPPED, ids=lambda path: path.name)
def test_integers_are_rounded_and_clipped(
    picture: Path, dtype: type, scale: float, mean: float, std: float
) -> None:
    """Halves may be rounded differently."""
    preprocess = Preprocess(
        (224, 224),
        fit="letterbox",
        interpolation="antialias-bilinear",
        pad=114,
        scale=scale,
        mean=(mean,),
        std=(std,),
        dtype=np.dtype(dtype),
    )
    (tensor,) = tensors(preprocess, read_pixels(picture))
    expected, _ = preprocess.apply(read_pixels(picture))
    assert tensor.dtype == dtype
    difference = np.abs(tensor.astype(int) - expected)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 1e-3 * difference.size


@pytest.mark.parametrize("size", [None, (48, None)])
def test_a_size_that_depends_on_the_picture_is_refused(size: Any) -> None:
    with pytest.raises(PreprocessError, match=r"one size: give it, as in --size 224x224\.$"):
        picture_graph(Preprocess(size))


def test_only_standard_operators_that_every_runtime_has() -> None:
    for interpolation in INTERPOLATIONS:
        graph = picture_graph(Preprocess((9, 9), fit="crop", interpolation=interpolation))
        assert {node.domain for node in graph.nodes} <= {None, ""}
        assert not {node.op for node in graph.nodes} & {"Resize", "Loop", "If", "Scan"}
