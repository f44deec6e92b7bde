"""PNG files are read back by Pillow and by OpenCV, which are independent of the writer."""

import io
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from onnxplain.results.formats.png_file import encode_png

RANDOM = np.random.default_rng(5)
SIZES = [(1, 1), (1, 9), (9, 1), (37, 53), (400, 401)]  # the last is compressed in several pieces


def read(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(image), opencv


@pytest.mark.parametrize("size", SIZES)
def test_color_pictures(size):
    picture = RANDOM.integers(0, 256, (*size, 3), np.uint8)
    pillow, opencv = read(encode_png(picture))
    np.testing.assert_array_equal(pillow, picture)
    np.testing.assert_array_equal(opencv[..., ::-1], picture)


@pytest.mark.parametrize("size", SIZES)
def test_gray_pictures_of_16_bits(size):
    picture = RANDOM.integers(0, 65536, size, np.uint16)
    for found in read(encode_png(picture)):
        np.testing.assert_array_equal(found, picture)


def test_a_picture_that_is_a_view_of_another():
    picture = RANDOM.integers(0, 256, (60, 80, 3), np.uint8)[::2, ::-1]
    np.testing.assert_array_equal(read(encode_png(picture))[0], picture)


def test_a_smooth_picture_becomes_small():
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, 256, 3))
    assert len(encode_png(ramp)) < ramp.size / 50


def test_the_file_does_not_depend_on_the_number_of_threads(monkeypatch):
    picture = RANDOM.integers(0, 256, (400, 401, 3), np.uint8)
    expected = encode_png(picture)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert encode_png(picture) == expected
