import json

import numpy as np
import pytest

from onnxplain.errors import PreprocessError
from onnxplain.images.preprocess import Preprocess
from onnxplain.images.sources import PictureInput, check_fits, find_preprocess
from onnxplain.tensors import TensorSpec

IMAGENET = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF = {"scale": 1 / 255, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def image(*shape, dtype="float32"):
    return TensorSpec("x", np.dtype(dtype), shape)


FLOAT = image("N", 3, 224, 224)
ANY_SIZE = image("N", 3, "H", "W")
UNKNOWN = TensorSpec("x", np.dtype("float32"), None)


def guess(spec, **flags):
    return find_preprocess(spec, None, {}, flags)


def fields(preprocess, expected):
    return {name: getattr(preprocess, name) for name in expected}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (FLOAT, {"layout": "NCHW", "channels": "RGB", "size": (224, 224), **IMAGENET}),
        (FLOAT, {"fit": "crop", "resize": 256, "interpolation": "antialias-bilinear"}),
        (image(1, 224, 224, 3), {"layout": "NHWC", "size": (224, 224), **IMAGENET}),
        (image("N", 3, 224, 224, dtype="float16"), {"dtype": np.dtype("float16"), **IMAGENET}),
        (image("N", 3, 299, 299), {"size": (299, 299), "resize": 341}),
        (image("N", 3, 48, 96), {"size": (48, 96), "fit": "stretch"}),
        (image("N", 3, 3, 3), {"layout": "NCHW"}),
        (image("N", 3, 48, "W"), {"size": (48, None), "fit": "stretch"}),
        (image("N", 3, "H", 224), {"size": (224, 224)}),
        (ANY_SIZE, {"size": (224, 224), "fit": "crop", "resize": 256}),
        (UNKNOWN, {"layout": "NCHW", "channels": "RGB", "size": (224, 224)}),
        (image("N", "H", "W", 3), {"layout": "NHWC", "size": (224, 224)}),
        (image(1, 1, 28, 28), {"channels": "GRAY", "fit": "stretch", "scale": 1 / 255}),
        (image(1, 28, 28, 1), {"channels": "GRAY", "layout": "NHWC", "mean": (0.0,)}),
        (image(1, 224, 224, 3, dtype="uint8"), {"scale": 1.0, "mean": (0.0,), "std": (1.0,)}),
        (image(1, 224, 224, 3, dtype="int8"), {"scale": 1.0, "mean": (128.0,), "std": (1.0,)}),
    ],
)  # fmt: skip
def test_guesses(spec, expected):
    preprocess = guess(spec)
    assert fields(preprocess, expected) == expected
    assert preprocess.origin.startswith("guess: ")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (FLOAT, "guess: the center 224 x 224 of a short side of 256, values of 0..1 with ImageNet"),
        (ANY_SIZE, "a size of 224 because the model takes any"),
        (
            image(1, 48, 96, 3, dtype="uint8"),
            "guess: the whole picture stretched, values of 0..255",
        ),
    ],
)
def test_a_guess_says_what_it_assumes(spec, words):
    assert words in guess(spec).origin


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (image("N", 1000), r"'x' of shape \(N, 1000\) .* four axes"),
        (image("N", None, 3, 8, 8), r"\(N, \?, 3, 8, 8\).* four axes"),
        (image("N", 4, 224, 224), "takes 4 channels, a picture has 1 or 3"),
        (image("N", 224, 224, 64), "read as NCHW it takes 224 channels"),
        (image("N", 3, 224, 224, dtype="object"), "needs numbers"),
        (image("N", 3, 224, 224, dtype="bool"), "needs numbers"),
    ],
)
def test_inputs_that_take_no_picture(spec, message):
    with pytest.raises(PreprocessError, match=message):
        guess(spec)


def test_flags_replace_single_settings():
    preprocess = guess(FLOAT, fit="letterbox", pad="114", channels="bgr", mean=None)
    expected = {"fit": "letterbox", "pad": 114.0, "channels": "BGR", **IMAGENET}
    assert fields(preprocess, expected) == expected
    assert preprocess.origin.endswith(", fit, pad, channels from flags")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"size": 448}, {"size": (448, 448), "resize": 512}),
        ({"size": 448, "resize": 448}, {"size": (448, 448), "resize": 448}),
        ({"size": "96x48"}, {"size": (96, 48), "fit": "stretch"}),
        ({"size": "picture"}, {"size": None, "fit": "stretch"}),
    ],
)
def test_a_size_flag_over_a_guess(flags, expected):
    assert fields(guess(ANY_SIZE, **flags), expected) == expected


@pytest.mark.parametrize(
    ("flags", "origin"),
    [
        ({"scale": 1}, "guess: the center 224 x 224 of a short side of 256, scale from flags"),
        ({"fit": "stretch", "scale": 1}, "defaults, fit, scale from flags"),
        (
            {"fit": "crop", "scale": 1},
            "guess: the center 224 x 224 of a short side of 256, fit, scale from flags",
        ),
        ({"fit": "crop", "resize": 232, "scale": 1}, "defaults, fit, resize, scale from flags"),
    ],
)
def test_what_flags_settle_is_no_guess(flags, origin):
    assert guess(FLOAT, **flags).origin == origin


def test_values_from_flags_over_a_guess_are_complete_or_refused():
    given = guess(FLOAT, scale=1, mean="127", std="128")
    assert (given.scale, given.mean, given.std) == (1, (127,), (128,))
    assert guess(FLOAT, scale=1 / 255).mean == (0,)
    with pytest.raises(PreprocessError, match="Give a scale with mean and std"):
        guess(FLOAT, mean="127", std="128")


@pytest.mark.parametrize(
    ("spec", "flags", "message"),
    [
        (FLOAT, {"size": 256}, r"\(guess.*\) makes height = 256 where it takes 224"),
        (image(1, 3, 224, 96), {"size": 224}, "makes width = 224 where it takes 96"),
        (FLOAT, {"size": "picture"}, "makes height = any where it takes 224"),
        (FLOAT, {"channels": "GRAY"}, "makes channels = 1 where it takes 3"),
        (FLOAT, {"dtype": "uint8"}, "makes dtype = uint8 where it takes float32"),
        (FLOAT, {"layout": "NHWC"}, "read as NHWC it takes 224 channels"),
        (FLOAT, {"color": "RGB"}, "Unknown preprocessing setting 'color'"),
    ],
)
def test_flags_that_the_input_does_not_take(spec, flags, message):
    with pytest.raises(PreprocessError, match=message):
        guess(spec, **flags)


def test_check_fits_serves_settings_from_anywhere():
    check_fits(Preprocess((224, 224)), FLOAT)
    check_fits(Preprocess(None), ANY_SIZE)
    with pytest.raises(PreprocessError, match=r"\(given\) makes height = 8"):
        check_fits(Preprocess((8, 8)), FLOAT)


def test_picture_input_reads_the_declared_shape():
    assert PictureInput.of(image("N", 3, 5, "W")) == PictureInput("NCHW", 3, 5, None)
    assert PictureInput.of(image("N", 3, 5, 3), "NHWC") == PictureInput("NHWC", 3, 3, 5)


# --- the order of the sources ---------------------------------------------------------------

ULTRALYTICS = {"task": "detect", "stride": "32", "imgsz": "[224, 224]", "names": "{0: 'person'}"}
VIT = {
    "do_normalize": True,
    "do_resize": True,
    "do_rescale": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 224},
}
TIMM = {
    "architecture": "resnet50",
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
}


def test_sources_in_their_order(tmp_path):
    model = tmp_path / "onnx" / "net.int8.onnx"
    model.parent.mkdir()

    def origin(metadata, **flags):
        return find_preprocess(FLOAT, model, metadata, flags).origin

    def write(path, content):
        path.write_text(json.dumps(content))

    assert origin({}).startswith("guess")
    write(tmp_path / "config.json", TIMM)
    assert origin({}) == "config.json in the folder above the model"
    write(model.with_name("config.json"), {"model_type": "vit"})  # transformers': no preprocessing
    assert origin({}) == "config.json in the folder above the model"
    write(tmp_path / "preprocessor_config.json", VIT)
    assert origin({}) == "preprocessor_config.json in the folder above the model"
    write(model.with_name("preprocessor_config.json"), VIT)
    assert origin({}) == "preprocessor_config.json next to the model"
    assert origin(ULTRALYTICS) == "model metadata (Ultralytics, task detect)"
    sidecar = model.with_name("net.int8.onnxplain.json")
    write(sidecar, {"labels": ["a"]})
    assert origin(ULTRALYTICS) == "model metadata (Ultralytics, task detect)"
    write(sidecar, {"preprocess": {"scale": 2}, "about": "anything"})
    assert origin(ULTRALYTICS) == "sidecar net.int8.onnxplain.json"
    assert origin({}, scale=3, fit=None) == "sidecar net.int8.onnxplain.json, scale from flags"


def test_a_sidecar_leaves_the_rest_to_the_model(tmp_path):
    (tmp_path / "net.onnxplain.json").write_text(
        json.dumps({"preprocess": {"channels": "BGR", "mean": [104, 117, 123], "fit": "crop"}})
    )
    spec = image(1, 227, 227, 3, dtype="float16")
    preprocess = find_preprocess(spec, tmp_path / "net.onnx", {}, {"size": None})
    assert preprocess == Preprocess(
        (227, 227), "NHWC", "BGR", "crop", mean=(104, 117, 123), dtype=np.dtype("float16"),
        origin="sidecar net.onnxplain.json",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"net\.onnxplain\.json is not valid JSON"),
        ("[]", r"net\.onnxplain\.json must hold a JSON object"),
        ('{"preprocess": 3}', r"'preprocess' in .*net\.onnxplain\.json must be a JSON object"),
        ('{"preprocess": {"sise": 3}}', r"net\.onnxplain\.json: Unknown .* 'sise'"),
        ('{"preprocess": {"size": 227}}', r"sidecar net.onnxplain.json\) makes height = 227"),
        ('{"preprocess": {"resize": 232}}', r"resize has no effect .*sidecar net.onnxplain.json"),
    ],
)
def test_a_broken_sidecar_is_named(tmp_path, content, message):
    (tmp_path / "net.onnxplain.json").write_text(content)
    with pytest.raises(PreprocessError, match=message):
        find_preprocess(FLOAT, tmp_path / "net.onnx", {}, {})


def test_a_flag_may_make_a_setting_of_a_sidecar_useless(tmp_path):
    settings = {"fit": "crop", "resize": 256}
    (tmp_path / "net.onnxplain.json").write_text(json.dumps({"preprocess": settings}))
    found = find_preprocess(FLOAT, tmp_path / "net.onnx", {}, {"fit": "stretch"})
    assert found.fit == "stretch"


def test_a_written_guess_stays_one_until_somebody_corrects_it(tmp_path):
    settings = {"scale": 2, "origin": "guess: values of 0..1"}
    (tmp_path / "net.onnxplain.json").write_text(json.dumps({"preprocess": settings}))
    found = find_preprocess(FLOAT, tmp_path / "net.onnx", {}, {})
    assert found.origin == "guess, in sidecar net.onnxplain.json"


# --- model metadata --------------------------------------------------------------------------

LETTERBOX = {"fit": "letterbox", "pad": 114, "interpolation": "bilinear", "scale": 1 / 255}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (ULTRALYTICS, {"size": (224, 224), "mean": (0,), "std": (1,), **LETTERBOX}),
        (ULTRALYTICS | {"task": "obb", "imgsz": "[320, 640]"}, {"size": (320, 640), **LETTERBOX}),
        (ULTRALYTICS | {"task": "pose", "imgsz": "640"}, {"size": (640, 640), **LETTERBOX}),
        ({"stride": "32", "names": "{0: 'a'}"}, {"size": (224, 224), **LETTERBOX}),  # YOLOv5
        (ULTRALYTICS | {"task": "classify"}, {"fit": "crop", "resize": None, "scale": 1 / 255}),
        ({"Image.BitmapPixelFormat": "Bgr8"}, {"channels": "BGR", "scale": 1}),
        ({"image.nominalpixelrange": "NORMALIZED_0_1"}, {"channels": "RGB", "scale": 1 / 255}),
        ({"Image.NominalPixelRange": "NominalRange_0_255"}, {"scale": 1, "mean": (0,)}),
    ],
)  # fmt: skip
def test_model_metadata(metadata, expected):
    preprocess = find_preprocess(ANY_SIZE, None, metadata, {})
    assert fields(preprocess, expected) == expected
    assert preprocess.origin.startswith("model metadata")


@pytest.mark.parametrize(
    ("pixel_range", "low", "high"),
    [
        ("NominalRange_0_255", 0, 255),
        ("Normalized_0_1", 0, 1),
        ("Normalized_1_1", -1, 1),
        ("NominalRange_16_235", 16, 235),
    ],
)
def test_nominal_pixel_ranges(pixel_range, low, high):
    preprocess = find_preprocess(FLOAT, None, {"Image.NominalPixelRange": pixel_range}, {})
    assert preprocess.color(0, 0, 0) == pytest.approx([low] * 3, abs=1e-5)
    assert preprocess.color(255, 255, 255) == pytest.approx([high] * 3, abs=1e-4)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"Image.BitmapPixelFormat": "Rgba8"}, "'rgba8' as image.bitmappixelformat"),
        ({"Image.NominalPixelRange": "0_1"}, "'0_1' as image.nominalpixelrange"),
        (
            {"Image.BitmapPixelFormat": "Rgb8", "Image.ColorSpaceGamma": "Linear"},
            "'linear' as image.colorspacegamma",
        ),
        (ULTRALYTICS | {"imgsz": "[640"}, r"'imgsz' that cannot be read: '\[640'"),
        (ULTRALYTICS | {"imgsz": "'big'"}, "'size' is 'big'"),
        (ULTRALYTICS | {"imgsz": "[640, 640]"}, r"\(model metadata .*\) makes height = 640"),
    ],
)
def test_model_metadata_that_cannot_be_followed(metadata, message):
    with pytest.raises(PreprocessError, match=message):
        find_preprocess(FLOAT, None, metadata, {})


# --- configuration files ---------------------------------------------------------------------


def from_config(tmp_path, name, content, spec=ANY_SIZE, **flags):
    (tmp_path / name).write_text(json.dumps(content))
    return find_preprocess(spec, tmp_path / "model.onnx", {}, flags)


def image_processor(family, **settings):
    """A configuration as transformers saves it, with ImageNet's values."""
    return {
        "image_processor_type": f"{family}ImageProcessor",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        **settings,
    }


SQUARE = {"height": 224, "width": 224}
PROCESSORS = {
    "ViT": (VIT, {"fit": "stretch", "size": (224, 224), **HALF}),
    "ViT, before 4.25": (
        VIT | {"size": 224, "feature_extractor_type": "ViTFeatureExtractor"},
        {"fit": "stretch", "size": (224, 224)},
    ),
    "ViT with nulls": (
        VIT | {"size": SQUARE | {"shortest_edge": None}, "resample": None, "crop_size": None},
        {"fit": "stretch", "size": (224, 224), "interpolation": "antialias-bilinear"},
    ),
    "CLIP": (
        image_processor(
            "CLIP", size={"shortest_edge": 224}, do_center_crop=True, crop_size=SQUARE
        ),
        {"fit": "crop", "resize": 224, "size": (224, 224), "interpolation": "antialias-bicubic"},
    ),
    "CLIP, before 4.25": (
        image_processor("CLIP", size=224, do_center_crop=True, crop_size=224),
        {"fit": "crop", "resize": 224, "size": (224, 224)},
    ),
    "DINOv2": (
        image_processor("Bit", size={"shortest_edge": 256}, do_center_crop=True, crop_size=SQUARE),
        {"fit": "crop", "resize": 256, "size": (224, 224), **IMAGENET},
    ),
    "DeiT": (
        image_processor("DeiT", size=256, do_center_crop=True, crop_size=224),
        {"fit": "crop", "resize": (256, 256), "size": (224, 224)},
    ),
    "ConvNeXT": (
        image_processor("ConvNext", size={"shortest_edge": 224}, crop_pct=0.875),
        {"fit": "crop", "resize": 256, "size": (224, 224)},
    ),
    "ConvNeXT, default crop": (
        image_processor("ConvNext", size=224, crop_pct=None),
        {"fit": "crop", "resize": 256, "size": (224, 224)},
    ),
    "ConvNeXT, large": (
        image_processor("ConvNext", size={"shortest_edge": 384}, crop_pct=1.0),
        {"fit": "stretch", "size": (384, 384)},
    ),
    "PoolFormer": (
        image_processor(
            "PoolFormer", size={"shortest_edge": 224}, crop_pct=0.9, do_center_crop=True,
            crop_size=SQUARE,
        ),
        {"fit": "crop", "resize": 248, "size": (224, 224)},
    ),
    "LeViT": (
        image_processor("Levit", size=224, do_center_crop=True, crop_size=SQUARE),
        {"fit": "crop", "resize": 256, "size": (224, 224)},
    ),
    "MobileViT": (
        image_processor(
            "MobileViT", size={"shortest_edge": 288}, do_center_crop=True, crop_size=256,
            do_normalize=False, do_flip_channel_order=True,
        ),
        {"channels": "BGR", "resize": 288, "size": (256, 256), "mean": (0,), "scale": 1 / 255},
    ),
    "EfficientNet": (
        image_processor(
            "EfficientNet", size=SQUARE, resample=0, include_top=True, rescale_offset=False,
            image_std=[0.5, 0.25, 0.125],
        ),
        {"fit": "stretch", "interpolation": "nearest", "std": (0.25, 0.0625, 0.015625)},
    ),
    "EfficientNet, offset": (
        image_processor(
            "EfficientNet", size=SQUARE, rescale_offset=True, rescale_factor=1 / 127.5,
            image_mean=[0, 0, 0], image_std=[1, 1, 1],
        ),
        {"scale": 1 / 127.5, "mean": (1, 1, 1), "std": (1, 1, 1)},
    ),
    "nothing rescaled": (
        image_processor("ViT", size=SQUARE, do_rescale=False, do_normalize=False),
        {"scale": 1, "mean": (0,), "std": (1,)},
    ),
    "short side alone": (
        image_processor("CLIP", size={"shortest_edge": 480}),
        {"fit": "stretch", "resize": 480, "size": None},
    ),
    "not resized": (image_processor("Swin2SR", do_resize=False), {"size": None, "resize": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
def test_preprocessor_config(tmp_path, name):
    config, expected = PROCESSORS[name]
    preprocess = from_config(tmp_path, "preprocessor_config.json", config)
    assert fields(preprocess, expected) == {
        key: pytest.approx(value) if key in IMAGENET else value for key, value in expected.items()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, "size by .*longest_edge"),
        ({"size": None}, "cannot be used"),
        ({"resample": 5}, "Pillow's filter 5"),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 224}, "crop without a resize"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 2}}, "KeyError: 'height'"),
        ({"image_mean": None}, "not finite"),
        ({"image_mean": "gray"}, "cannot be used"),
        ({"rescale_factor": "a"}, "'scale' is 'a'"),
        ({"image_mean": [1, 2]}, "2 values of mean"),
    ],
)
def test_preprocessor_config_that_cannot_be_followed(tmp_path, changes, message):
    with pytest.raises(PreprocessError, match=message) as raised:
        from_config(tmp_path, "preprocessor_config.json", VIT | changes)
    assert "preprocessor_config.json" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"fit": "crop", "size": (224, 224), "resize": 235, **IMAGENET}),
        ({}, {"interpolation": "antialias-bicubic"}),
        ({"crop_mode": "squash"}, {"fit": "crop", "resize": (235, 235)}),
        ({"crop_pct": None, "interpolation": "bilinear"}, {"resize": 256}),
        ({"input_size": [3, 288, 288], "crop_pct": 1.0}, {"size": (288, 288), "resize": 288}),
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_timm_config(tmp_path, changes, expected, nested):
    details = TIMM["pretrained_cfg"] | changes
    config = {"architecture": "x", "pretrained_cfg": details} if nested else details
    preprocess = from_config(tmp_path, "config.json", config)
    assert fields(preprocess, expected) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_mode": "border"}, "crop mode 'border'"),
        ({"input_size": [3, 224, 320]}, "crop mode 'center' to 224 x 320"),
        ({"interpolation": "random"}, "KeyError: 'random'"),
    ],
)
def test_timm_config_that_cannot_be_followed(tmp_path, changes, message):
    config = {"pretrained_cfg": TIMM["pretrained_cfg"] | changes}
    with pytest.raises(PreprocessError, match=message):
        from_config(tmp_path, "config.json", config)


def test_a_size_flag_keeps_the_share_that_a_crop_takes(tmp_path):
    config, _ = PROCESSORS["DINOv2"]
    preprocess = from_config(tmp_path, "preprocessor_config.json", config, size=518)
    assert (preprocess.size, preprocess.resize) == ((518, 518), 592)
    config, _ = PROCESSORS["DeiT"]
    preprocess = from_config(tmp_path, "preprocessor_config.json", config, size=[112, 448])
    assert (preprocess.size, preprocess.resize) == ((112, 448), (128, 512))


def test_a_model_of_another_size_than_its_config_is_refused(tmp_path):
    with pytest.raises(PreprocessError, match=r"preprocessor_config.json.* makes height = 224"):
        from_config(tmp_path, "preprocessor_config.json", VIT, spec=image(1, 3, 384, 384))


@pytest.mark.parametrize(
    "flags",
    [
        {"fit": "stretch", "resize": 256},
        {"fit": "letterbox", "resize": 256},
        {"fit": "stretch", "pad": 114},
        {"fit": "crop", "pad": 114},
        {"fit": "crop", "resize": 300, "pad": 114},
        {"fit": "crop", "size": "100x200", "resize": "120x200", "pad": 114},
    ],
)
def test_a_flag_without_effect_is_refused(flags):
    with pytest.raises(
        PreprocessError, match=r"(resize|pad) has no effect .*(stretch|letterbox|crop)"
    ):
        guess(FLOAT, **flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"fit": "crop", "resize": 200, "pad": 9},  # smaller than the crop of 224
        {"fit": "crop", "size": "100x200", "pad": 9},
        {"fit": "letterbox", "pad": 114},
        {"fit": "stretch", "size": "picture", "resize": 64},
    ],
)
def test_a_flag_with_an_effect_is_taken(flags):
    assert guess(ANY_SIZE, **flags).fit == flags["fit"]
