import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from onnxplain.errors import PictureError
from onnxplain.images import opencv, picture
from onnxplain.images.picture import as_pixels, as_uint8, find_pictures, read_picture, read_pixels

RANDOM = np.random.default_rng(7)
RGBA = RANDOM.integers(0, 256, (20, 31, 4), np.uint8)
DEEP = RANDOM.integers(0, 65536, (20, 31, 4), np.uint16)
UNIT = RANDOM.random((20, 31, 3), np.float32)


def save(array, path, **options):
    Image.fromarray(array).save(path, **options)
    return path


# What each format can hold; not TIFF with alpha, because OpenCV multiplies its colors by alpha.
MODES = {
    ".png": ["RGB", "RGBA", "L", "LA", "P", "1"],
    ".bmp": ["RGB", "RGBA", "L", "P", "1"],
    ".tif": ["RGB", "L", "P", "1"],
    ".webp": ["RGB", "RGBA"],
    ".jpg": ["RGB", "L"],
}


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
)
def test_eight_bit_files_read_as_pillow_reads_them(tmp_path, suffix, mode):
    path = tmp_path / f"grün{suffix}"
    image = Image.fromarray(RGBA if "A" in mode else RGBA[..., :3]).convert(mode)
    image.save(path, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))

    read = read_picture(path)

    assert read.dtype == np.float32
    assert read.flags.c_contiguous
    pixels = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(read, pixels)
    np.testing.assert_array_equal(read_pixels(path), pixels, strict=True)


@pytest.mark.parametrize(
    ("suffix", "channels"), [(".png", 1), (".png", 3), (".png", 4), (".tiff", 1), (".tiff", 3)]
)
def test_sixteen_bit_files_keep_their_precision(tmp_path, suffix, channels):
    path = tmp_path / f"deep{suffix}"
    stored = DEEP[..., :channels]
    bgr = cv2.cvtColor(stored, cv2.COLOR_RGBA2BGRA) if channels == 4 else stored[..., ::-1]
    assert cv2.imwrite(str(path), bgr, [cv2.IMWRITE_TIFF_COMPRESSION, 1])

    expected = np.broadcast_to(stored[..., :3].astype(np.float64) / 257, (20, 31, 3))

    np.testing.assert_allclose(read_picture(path), expected, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".tiff", ".pfm"])
@pytest.mark.parametrize("gray", [False, True])
def test_float_files_in_0_1(tmp_path, suffix, gray):
    path = tmp_path / f"float{suffix}"
    stored = UNIT[..., 0] if gray else UNIT
    cv2.imwrite(str(path), stored if gray else UNIT[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])

    expected = np.broadcast_to(stored[..., None] if gray else stored, (20, 31, 3)) * 255

    np.testing.assert_allclose(read_picture(path), expected, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, suffix, orientation):
    path = tmp_path / f"turned{suffix}"
    rows, columns = np.mgrid[0:16, 0:24]
    image = Image.fromarray((columns * 7 + rows * 3).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    tag = {"tiffinfo": {0x0112: orientation}} if suffix == ".tif" else {"exif": exif}
    image.save(path, **tag)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)), np.float32)

    read = read_picture(path)

    assert read.shape == upright.shape
    assert upright.shape == ((16, 24, 3) if orientation < 5 else (24, 16, 3))
    np.testing.assert_allclose(read, upright, atol=2)


def cut_short(path):
    save(RGBA[..., :3].repeat(8, 0), path)
    path.write_bytes(path.read_bytes()[:-200])


def too_bright(path):
    cv2.imwrite(str(path), UNIT * 2, [cv2.IMWRITE_TIFF_COMPRESSION, 1])


def not_finite(path):
    cv2.imwrite(str(path), np.full((4, 4), np.nan, np.float32), [cv2.IMWRITE_TIFF_COMPRESSION, 1])


UNREADABLE = {
    "missing.png": (lambda path: None, "does not exist"),
    "folder.png": (Path.mkdir, "is a folder"),
    "empty.png": (Path.touch, "is empty"),
    "text.jpg": (lambda path: path.write_text("no picture" * 50), "not a picture that OpenCV"),
    "cut.png": (cut_short, "cut short"),
    "bright.tiff": (too_bright, r"from 0\.\d+ to 1\.\d+: they must be in 0\.\.1"),
    "nan.tiff": (not_finite, "from nan to nan"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files_say_why(tmp_path, name):
    make, message = UNREADABLE[name]
    make(tmp_path / name)

    with pytest.raises(PictureError, match=message) as raised:
        read_picture(tmp_path / name)

    assert name in str(raised.value)


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("onnxplain.images.picture.read_regular", refuse)
    with pytest.raises(PictureError, match=r"x\.png cannot be read: Permission denied"):
        read_picture(tmp_path / "x.png")


def test_too_many_pixels_are_refused_after_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "MAX_PIXELS", 20 * 31 - 1)
    with pytest.raises(PictureError, match=r"31 x 20 pixels, is too large: the most is 619"):
        read_picture(save(RGBA, tmp_path / "big.png"))


def test_opencvs_own_limit_refuses_before_decoding(tmp_path):
    Image.new("1", (30_000, 30_000)).save(tmp_path / "huge.png")
    # OpenCV reads the limit when it is loaded, so this needs a new process.
    read = (
        "import pathlib, sys; from onnxplain.images.picture import read_picture;"
        "read_picture(pathlib.Path(sys.argv[1]))"
    )
    process = subprocess.run(
        [sys.executable, "-c", read, tmp_path / "huge.png"],
        env=os.environ | {"OPENCV_IO_MAX_IMAGE_PIXELS": str(picture.MAX_PIXELS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "in _decode" in process.stderr
    assert "huge.png is too large: the most is 268,435,456 pixels" in process.stderr


def test_memory_that_does_not_suffice_to_decode_reads_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        error = cv2.error("Failed to allocate 2700000000 bytes")
        error.code = cv2.Error.StsNoMem
        raise error

    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(PictureError, match=r"big\.png is too large"):
        read_picture(save(RGBA, tmp_path / "big.png"))


def test_opencv_that_does_not_load_gives_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(PictureError, match=r"OpenCV cannot be loaded .*opencv-python-headless"):
        opencv.cv2.imdecode(np.zeros(1, np.uint8), 0)


GOOD_ARRAYS = {
    "gray": (RGBA[..., 0], RGBA[..., [0, 0, 0]]),
    "one channel": (RGBA[..., :1], RGBA[..., [0, 0, 0]]),
    "rgb": (RGBA[..., :3], RGBA[..., :3]),
    "rgba": (RGBA, RGBA[..., :3]),
    "deep": (DEEP, DEEP[..., :3] / 257),
    "float": (UNIT.astype(np.float64) * 255, UNIT * 255),
    "half": (RGBA[..., :3].astype(np.float16), RGBA[..., :3]),
    "black": (np.zeros((4, 5)), np.zeros((4, 5, 3))),
}


@pytest.mark.parametrize("name", GOOD_ARRAYS)
def test_arrays_as_pictures(name):
    array, expected = GOOD_ARRAYS[name]

    taken = as_pixels(array)

    assert taken.dtype == (np.uint8 if array.dtype == np.uint8 else np.float32)
    np.testing.assert_allclose(taken, expected, rtol=1e-6)


def test_what_is_kept_of_an_array_does_not_change_with_it():
    array = RGBA[..., :3].copy()
    taken = as_pixels(array)
    array[:] = 0
    np.testing.assert_array_equal(taken, RGBA[..., :3])


def test_pixels_as_bytes_are_the_nearest():
    pixels = np.array([[[0.4, 0.6, 254.7]]], np.float32)
    nearest = np.array([[[0, 1, 255]]], np.uint8)
    np.testing.assert_array_equal(as_uint8(pixels), nearest, strict=True)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), "channels last"),
        (np.zeros((2, 8, 8, 3), np.uint8), "channels last"),
        (np.zeros(8, np.uint8), "channels last"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.zeros((8, 8), np.int64), "is int64"),
        (np.zeros((8, 8), bool), "is bool"),
        (UNIT, "multiply it by 255"),
        (UNIT * 255 - 1, r"must be in 0\.\.255"),
        (UNIT * 300, r"must be in 0\.\.255"),
        (np.array([[0, np.nan]]), "from nan to nan"),
        (np.array([[0, np.inf]]), "to inf"),
    ],
)
def test_arrays_that_are_no_pictures(array, message):
    with pytest.raises(PictureError, match=message):
        as_pixels(array)


@pytest.fixture
def album(tmp_path):
    for name in ("b.png", "a.JPG", "c[1].png", "notes.txt", "sub/d.png", "empty/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["b.png", "a.JPG"], ["b.png", "a.JPG"]),
        (["."], ["a.JPG", "b.png", "c[1].png"]),
        (["*"], ["a.JPG", "b.png", "c[1].png"]),
        (["**/d.*"], ["sub/d.png"]),
        (["c[1].png"], ["c[1].png"]),
        (["notes.txt"], ["notes.txt"]),
        (["b.png", ".", "sub/../b.png"], ["b.png", "a.JPG", "c[1].png"]),
    ],
)
def test_pictures_by_file_folder_and_pattern(album, patterns, names):
    found = find_pictures([album / pattern for pattern in patterns])
    assert [path.relative_to(album).as_posix() for path in found] == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("z.png", r"z\.png does not exist"),
        ("*.webp", r"No picture matches .*\*\.webp .*\.jpeg"),
        ("*.txt", "No picture matches"),
        ("empty", "holds no pictures"),
    ],
)
def test_patterns_that_name_no_picture(album, pattern, message):
    with pytest.raises(PictureError, match=message):
        find_pictures([album / "b.png", str(album / pattern)])


def test_an_address_is_no_missing_file() -> None:
    with pytest.raises(PictureError, match=r"^https://a\.org/cat\.png is an address"):
        find_pictures(["https://a.org/cat.png"])
