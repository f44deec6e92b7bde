import struct
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from onnxplain.errors import PictureError
from onnxplain.images.array_files import read_npy, read_tiff

tifffile = pytest.importorskip("tifffile")


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "planes", "axes"),
    [((5, 4, 6), "separate", "SYX"), ((4, 6, 5), "contig", "YXS")],
)
def test_bands_of_any_type(tmp_path, dtype, shape, planes, axes):
    scene = (np.random.default_rng(0).random(shape) * 3000).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", scene, photometric="minisblack", planarconfig=planes)
    found, letters = read_tiff(tmp_path / "a.tif")
    assert_array_equal(found, scene)
    assert (found.dtype, letters) == (scene.dtype, axes)


def test_a_file_that_is_no_tiff(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"text")
    with pytest.raises(PictureError, match=r"a\.tif cannot be read as TIFF: "):
        read_tiff(tmp_path / "a.tif")
    with pytest.raises(PictureError, match=r"There is no file .*b\.tif"):
        read_tiff(tmp_path / "b.tif")


def test_a_tiff_whose_tag_has_two_values_in_place_of_one(tmp_path):
    """Tag 256 is the width; the second value is that of the next bytes, which are 0."""
    tifffile.imwrite(tmp_path / "a.tif", np.ones((5, 6, 6)), photometric="minisblack")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    tags = {
        struct.unpack_from("<H", content, at)[0]: at
        for at in range(first + 2, first + 2 + 12 * count, 12)
    }
    struct.pack_into("<HI", content, tags[256] + 2, 3, 2)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(PictureError, match=r"a\.tif cannot be read as TIFF: "):
        read_tiff(tmp_path / "a.tif")


@pytest.mark.parametrize("header", ["{'shape': (1,", "{[]: 1}", "{1: 2, 'a': 3}", "[" * 300])
def test_a_npy_file_with_a_damaged_header(tmp_path, header):
    text = header.encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(PictureError, match=r"is not a \.npy file"):
        read_npy(tmp_path / "a.npy")


def test_a_tiff_whose_values_are_not_of_the_size_that_its_header_says(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((1, 6, 6), np.int64), photometric="minisblack")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    bits = content.index(struct.pack("<HHI", 258, 3, 1))  # the tag of the bits of a value
    content[bits + 4 : bits + 12] = struct.pack("<II", 3, 2**28)  # three, beyond the file's end
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(PictureError, match=r"TIFF: its values have the shape \(0, 1, 6, 6\)"):
        read_tiff(tmp_path / "a.tif")


def test_without_tifffile_one_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(PictureError, match=r"needs tifffile: pip install 'onnxplain\[tiff\]'\.$"):
        read_tiff(tmp_path / "a.tif")


def test_npy_files_that_hold_no_array(tmp_path):
    (tmp_path / "text.npy").write_text("text")
    np.savez(tmp_path / "two.npz", a=1, b=2)
    np.save(tmp_path / "empty.npy", np.zeros((0, 12)))
    for name, sentence in {
        "gone.npy": "There is no file",
        "text.npy": "is not a .npy file",
        "two.npz": "holds several arrays",
        "empty.npy": r"holds no sample: its array of shape \(0, 12\) is empty",
    }.items():
        with pytest.raises(PictureError, match=sentence):
            read_npy(tmp_path / name)
