import json

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import PreprocessError
from onnxplain.images.preprocess import Preprocess

RANDOM = np.random.default_rng(11)
PIXEL = np.array([[[200, 100, 50]]], np.float32)  # R, G, B; gray is 0.299 R + 0.587 G + 0.114 B
GRAY = 0.299 * 200 + 0.587 * 100 + 0.114 * 50


def test_imagenet_preprocessing_is_that_of_torchvision():
    picture = RANDOM.random((300, 451, 3), np.float32) * 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    preprocess = Preprocess(
        size=(224, 224),
        fit="crop",
        resize=256,
        interpolation="antialias-bilinear",
        scale=1 / 255,
        mean=tuple(mean),
        std=tuple(std),
    )
    # Resize(256), CenterCrop(224), ToTensor, Normalize, done with Pillow on float planes.
    planes = [Image.fromarray(plane) for plane in np.moveaxis(picture, 2, 0)]
    resized = [plane.resize((384, 256), Image.Resampling.BILINEAR) for plane in planes]
    cropped = np.stack([plane.crop((80, 16, 304, 240)) for plane in resized])
    expected = (cropped / 255 - mean[:, None, None]) / std[:, None, None]

    tensor, placement = preprocess.apply(picture)

    assert tensor.shape == (1, 3, 224, 224)
    assert tensor.flags.c_contiguous
    assert placement.offset == (-16, -80)
    np.testing.assert_allclose(tensor[0], expected, atol=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("channels", "expected"),
    [("RGB", [200, 100, 50]), ("BGR", [50, 100, 200]), ("GRAY", [GRAY])],
)
def test_layout_and_channel_order(layout, channels, expected):
    picture = np.broadcast_to(PIXEL, (2, 3, 3))
    preprocess = Preprocess((2, 3), layout=layout, channels=channels)

    tensor, _ = preprocess.apply(picture)

    pixels = np.broadcast_to(np.float32(expected), (1, 2, 3, len(expected)))
    if layout == "NCHW":
        pixels = pixels.transpose(0, 3, 1, 2)
    assert tensor.dtype == np.float32
    assert tensor.shape == pixels.shape
    np.testing.assert_allclose(tensor, pixels, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"scale": 1 / 255, "mean": (0.5,), "std": (0.25,)}, [1.137255, -0.431373, -1.215686]),
        # The means of Caffe's models are in the model's own order, here BGR.
        ({"channels": "BGR", "mean": (104, 117, 123)}, [-54, -17, 77]),
        ({"mean": (127,), "std": (128,), "dtype": np.dtype("float16")}, [0.5703, -0.2109, -0.6016]),
        ({"dtype": np.dtype("uint8")}, [200, 100, 50]),
        ({"scale": 1.31, "dtype": np.dtype("uint8")}, [255, 131, 66]),  # 262, 131, 65.5
        ({"mean": (128,), "dtype": np.dtype("int8")}, [72, -28, -78]),
        ({"mean": (255,), "dtype": np.dtype("int8")}, [-55, -128, -128]),
    ],
)  # fmt: skip
def test_values_by_hand(settings, expected):
    preprocess = Preprocess((1, 1), layout="NHWC", **settings)

    tensor, _ = preprocess.apply(PIXEL)

    assert tensor.dtype == preprocess.dtype
    np.testing.assert_allclose(tensor.ravel(), expected, rtol=1e-3)
    # The same formula is used for the colors of baselines.
    np.testing.assert_array_equal(preprocess.color(200, 100, 50), tensor.ravel())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_inverse_shows_the_picture(layout, channels):
    picture = RANDOM.random((5, 7, 3), np.float32) * 255
    preprocess = Preprocess(
        (5, 7), layout, channels, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.2, 0.3, 0.4)
    )
    tensor, _ = preprocess.apply(picture)

    np.testing.assert_allclose(preprocess.inverse(tensor), picture, atol=1e-3)
    np.testing.assert_allclose(preprocess.inverse(tensor[0]), picture, atol=1e-3)
    assert preprocess.inverse(tensor + 100).max() == 255


def test_inverse_of_gray_is_gray():
    preprocess = Preprocess((1, 1), channels="GRAY", scale=1 / 255)
    tensor, _ = preprocess.apply(PIXEL)
    np.testing.assert_allclose(preprocess.inverse(tensor), np.full((1, 1, 3), GRAY), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "picture", "expected"),
    [
        ({"size": None}, (37, 53), (37, 53)),
        ({"size": None, "resize": 100}, (50, 75), (100, 150)),
        ({"size": (20, 30)}, (37, 53), (20, 30)),
        ({"size": (20, 30), "fit": "letterbox"}, (37, 53), (20, 30)),
        ({"size": (20, 30), "fit": "crop"}, (37, 53), (20, 30)),
    ],
)
def test_size_of_the_input(settings, picture, expected):
    tensor, placement = Preprocess(**settings).apply(np.zeros((*picture, 3), np.float32))
    assert tensor.shape == (1, 3, *expected)
    assert placement.model == expected


def test_a_crop_without_resize_takes_the_short_side_of_the_size():
    placement = Preprocess((20, 30), fit="crop").place((40, 80))
    assert placement.resized == (20, 40)


def test_a_small_picture_is_padded_with_the_pad():
    preprocess = Preprocess((6, 6), fit="crop", resize=4, pad=9, channels="GRAY")
    tensor, _ = preprocess.apply(np.full((4, 4, 3), 100, np.float32))
    expected = np.full((6, 6), 9.0)
    expected[1:5, 1:5] = 100
    np.testing.assert_allclose(tensor[0, 0], expected, rtol=1e-6)


def test_settings_survive_json():
    preprocess = Preprocess(
        (224, 320), "NHWC", "BGR", "crop", 256, "antialias-bicubic", 1 / 255, (0.1, 0.2, 0.3),
        (1.0, 2.0, 3.0), 114.0, np.dtype("uint8"), "somewhere",
    )  # fmt: skip
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"size": 224}, {"size": (224, 224)}),
        ({"size": "224"}, {"size": (224, 224)}),
        ({"size": "224X320"}, {"size": (224, 320)}),
        ({"size": [224, 320]}, {"size": (224, 320)}),
        ({"size": "picture"}, {"size": None}),
        ({"size": 9, "fit": "crop", "resize": "256"}, {"resize": 256}),
        ({"size": 9, "fit": "crop", "resize": [8, 9]}, {"resize": (8, 9)}),
        ({"mean": "0.485, 0.456,0.406"}, {"mean": (0.485, 0.456, 0.406)}),
        ({"mean": 127}, {"mean": (127.0,)}),
        ({"std": np.array([1, 2, 3])}, {"std": (1.0, 2.0, 3.0)}),
        ({"channels": "bgr", "layout": "nhwc"}, {"channels": "BGR", "layout": "NHWC"}),
        ({"scale": "0.5"}, {"scale": 0.5}),
    ],
)
def test_settings_as_people_write_them(written, read):
    preprocess = Preprocess.from_dict(written)
    assert {name: getattr(preprocess, name) for name in read} == read


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"means": 0}, "Unknown preprocessing setting 'means': the settings are size, .*mean"),
        ({"mean": "a,b"}, r"'mean' is 'a,b': expected a number or a list of numbers"),
        ({"size": [1, 2, 3]}, "'size' is .*expected a side"),
        ({"size": 22.5}, "'size' is 22.5"),
        ({"scale": True}, "'scale' is True"),
        ({"fit": 3}, "'fit' is 3"),
        ({"dtype": "float33"}, "'dtype' is 'float33'"),
        ({"fit": "zoom"}, "has 'zoom' as fit: it is one of stretch, crop, letterbox"),
        ({"interpolation": "linear"}, "has 'linear' as interpolation: .*antialias-bilinear"),
        ({"size": 0}, "below one pixel"),
        ({"fit": "crop"}, "has no size"),
        ({"resize": [8, 9]}, "has no size"),
        ({"mean": [1, 2]}, r"2 values of mean and 1 of std for 3 channel\(s\) of RGB"),
        ({"channels": "GRAY", "mean": [1, 2, 3]}, r"3 values of mean .* 1 channel\(s\) of GRAY"),
        ({"std": 0}, "scale or std of zero"),
        ({"scale": "nan"}, "not finite"),
        ({"pad": 256}, "pad outside"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(written, message):
    with pytest.raises(PreprocessError, match=message):
        Preprocess.from_dict(written)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "area", "antialias-bicubic"])
def test_bytes_are_resized_as_the_numbers_that_they_are(interpolation):
    picture = RANDOM.integers(0, 256, (37, 53, 3), np.uint8)
    preprocess = Preprocess((20, 30), fit="crop", resize=24, interpolation=interpolation)
    tensor, _ = preprocess.apply(picture)
    np.testing.assert_array_equal(tensor, preprocess.apply(picture.astype(np.float32))[0])
    assert (tensor != np.rint(tensor)).any() or interpolation == "nearest"


@pytest.mark.parametrize(
    ("picture", "width"),
    [((64, 320), 240), ((20, 100), 240), ((31, 101), 157), ((480, 7), 1), ((48, 48), 48)],
)
def test_a_width_that_follows_the_picture(picture, width):
    """ceil(48 · width / height), as PaddleOCR resizes a line of text."""
    preprocess = Preprocess.from_dict({"size": "48xauto"})
    tensor, placement = preprocess.apply(np.zeros((*picture, 3), np.uint8))
    assert tensor.shape == (1, 3, 48, width)
    assert placement.picture == picture
    assert placement.covered().all()


def test_a_width_that_follows_the_picture_is_written_and_read():
    preprocess = Preprocess.from_dict({"size": [48, "auto"]})
    written = json.loads(json.dumps(preprocess.to_dict()))
    assert written["size"] == [48, None]
    assert Preprocess.from_dict(written) == preprocess
    assert preprocess.varies
    assert preprocess.trial_size[0] == 48
    assert not Preprocess((48, 320)).varies


@pytest.mark.parametrize("size", ["48xwide", "autox48", "48xautox3", "xauto", [None, 48]])
def test_sizes_that_cannot_be_read(size):
    with pytest.raises(PreprocessError, match="expected a side"):
        Preprocess.from_dict({"size": size})


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_a_width_that_follows_the_picture_needs_no_other_fit(fit):
    with pytest.raises(PreprocessError, match="keep their proportions: use fit 'stretch'"):
        Preprocess((48, None), fit=fit)
