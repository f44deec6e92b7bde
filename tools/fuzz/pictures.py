"""Pictures and arrays of many formats, of which most are damaged or odd."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from onnxplain.tensors import Array
from tools.cases import nets
from tools.fuzz.blocks import Draw
from tools.fuzz.case import Case
from tools.fuzz.damage import changed_bytes
from tools.fuzz.files import npy
from tools.fuzz.models import FORMS
from tools.fuzz.net import Net

_MODES = ["RGB", "L", "RGBA", "1", "P", "LA", "I;16", "CMYK", "F", "I"]


def _pixels(draw: Draw) -> Array:
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return rng.integers(0, 256, (rows, columns, 3), np.uint8)


def _saved(draw: Draw, kind: str, modes: list[str], **settings: Any) -> bytes:
    mode = draw(st.sampled_from(modes))
    image = Image.fromarray(_pixels(draw))
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    if draw(st.booleans()) and kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        exif = Image.Exif()
        turned = [1, 3, 6, 8] if kind == "TIFF" else [1, 3, 6, 8, 0, 9, 255]
        exif[0x0112] = draw(st.sampled_from(turned))
        settings["exif"] = exif
    image.save(file, kind, **settings)
    return file.getvalue()


def _png(draw: Draw) -> bytes:
    return _saved(draw, "PNG", ["RGB", "L", "RGBA", "1", "P", "LA", "I;16"])


def _jpeg(draw: Draw) -> bytes:
    return _saved(draw, "JPEG", ["RGB", "L", "CMYK"], progressive=draw(st.booleans()))


def _tiff(draw: Draw) -> bytes:
    compression = draw(st.sampled_from([None, "tiff_lzw", "packbits", "tiff_adobe_deflate"]))
    return _saved(draw, "TIFF", _MODES, compression=compression)


def _webp(draw: Draw) -> bytes:
    return _saved(draw, "WEBP", ["RGB", "RGBA"], lossless=draw(st.booleans()))


def _gif(draw: Draw) -> bytes:
    return _saved(draw, "GIF", ["P", "L"])


def _bmp(draw: Draw) -> bytes:
    return _saved(draw, "BMP", ["RGB", "L", "1"])


def _ppm(draw: Draw) -> bytes:
    return _saved(draw, "PPM", ["RGB", "L", "1"])


def _huge_png(draw: Draw) -> bytes:
    """A small file that says that it is a huge picture."""
    sides = st.sampled_from([0, 1, 8, 2**14, 2**16, 2**20, 2**31 - 1, 2**32 - 1])
    header = struct.pack(">IIBBBBB", draw(sides), draw(sides), *draw(_PNG_KINDS), 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in parts:
        check = struct.pack(">I", zlib.crc32(kind + data))
        content += struct.pack(">I", len(data)) + kind + data + check
    return content


_PNG_KINDS = st.sampled_from([(8, 2), (1, 0), (16, 6), (8, 3), (3, 2), (16, 4)])


def _huge_header(draw: Draw) -> bytes:
    """The header of a format of text."""
    side = draw(st.sampled_from([0, 1, 2**14, 2**16, 2**31, 10**30, -1]))
    first = draw(st.sampled_from(["P6", "P5", "P3", "P4", "PF", "#?RADIANCE", "P7"]))
    return f"{first}\n{side} {side}\n{draw(st.sampled_from([255, 65535, 0, -1]))}\n".encode()


_DTYPES = "float32 float64 float16 uint8 int8 uint16 int64 bool complex64 >f4 U3 S2 M8[s]".split()


def _array(draw: Draw, shapes: list[tuple[int, ...]]) -> Array:
    shape = draw(st.sampled_from(shapes))
    dtype = np.dtype(draw(st.sampled_from(_DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.normal(size=shape) * draw(st.sampled_from([1.0, 50.0, 1e30]))
    if draw(st.integers(0, 5)) == 0:
        values = np.where(values > 1, draw(st.sampled_from([np.nan, np.inf])), values)
    with np.errstate(all="ignore"):
        return np.zeros(shape, dtype) if dtype.kind == "M" else values.astype(dtype)


_SHAPES: list[tuple[int, ...]] = [
    (1, 3, 20, 26),
    (2, 3, 20, 26),
    (3, 20, 26),
    (20, 26, 3),
    (20, 26),
    (1, 3, 8, 8),
    (1, 5, 6, 6),
    (5, 6, 6),
    (6, 6, 5),
    (12,),
    (1, 12),
    (4, 12),
    (),
    (0, 12),
    (1, 1, 1, 1, 1, 1),
]


def _npy(draw: Draw) -> bytes:
    return npy(_array(draw, _SHAPES))


def _odd_npy(draw: Draw) -> bytes:
    """A header of a .npy file that says something that cannot be."""
    shape = draw(st.sampled_from(["(2**40,)", "(1099511627776,)", "(-1,)", "(1,3", "(1.5,)", "()"]))
    descr = draw(st.sampled_from(["'<f4'", "'|O'", "'<f999'", "[('a','<f4')]", "'' ", "'<U0'"]))
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    length = draw(st.sampled_from([len(text), 0, 65535]))
    version: bytes = draw(st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x09\x00"]))
    return b"\x93NUMPY" + version + struct.pack("<H", length) + text + bytes(64)


def _npz(draw: Draw) -> bytes:
    file = io.BytesIO()
    np.savez(file, a=_array(draw, _SHAPES[:4]))
    return file.getvalue()


def _bands(draw: Draw) -> bytes:
    """A TIFF file of several bands or pages."""
    import tifffile

    array = _array(draw, [(5, 6, 6), (6, 6, 5), (2, 5, 6, 6), (6, 6), (1, 6, 6)])
    if array.dtype.kind not in "fiu":
        array = np.ones(array.shape, np.float32)
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack")
    return file.getvalue()


_BEGINNINGS = [b"", b"\0", b"GIF89a", b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"<svg/>"]


def _text(draw: Draw) -> bytes:
    return bytes(draw(st.sampled_from(_BEGINNINGS)))


_FORMATS: Mapping[str, Callable[[Draw], bytes]] = {
    ".png": _png,
    ".jpg": _jpeg,
    ".tif": _tiff,
    ".webp": _webp,
    ".gif": _gif,
    ".bmp": _bmp,
    ".ppm": _ppm,
    ".npy": _npy,
    "huge.png": _huge_png,
    "header.ppm": _huge_header,
    "odd.npy": _odd_npy,
    ".npz": _npz,
    "bands.tif": _bands,
    "text.png": _text,
}
"""By the end of the file's name."""


def _model(form: str) -> bytes:
    """A small model with an input of this form."""
    import onnx
    from onnx import TensorProto, helper

    net = Net(17, np.random.default_rng(1))
    shape = FORMS[form].shape(6, 6)
    planes = FORMS[form].planes(net, "x", shape)
    flat = net.add("Flatten", net.add("Relu", planes.name))
    y = net.add("MatMul", flat, net.normal(int(np.prod(shape)), 3))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(FORMS[form].dtype))
    graph = helper.make_graph(
        net.nodes,
        "m",
        [helper.make_tensor_value_info("x", kind, ["N", *shape])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", 3])],
        net.weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(made.SerializeToString())


MODELS: Mapping[str, bytes] = {
    "net R": nets.net_r().SerializeToString(),
    **{form: _model(form) for form in FORMS},
}
"""Models that take pictures, and arrays of several forms."""

_TAKING_PICTURES = ["net R", "net R", *(form for form, facts in FORMS.items() if facts.picture)]


@st.composite
def pictures(draw: Draw) -> Case:
    """A picture or an array, and a model that may take it."""
    ending = draw(st.sampled_from(list(_FORMATS)))
    content, words = _FORMATS[ending](draw), "as it is"
    if content and draw(st.integers(0, 2)):
        content, words = changed_bytes(draw, content), "changed bytes"
    takes_arrays = ending in (".npy", "odd.npy", "bands.tif")
    model = draw(st.sampled_from(list(MODELS) if takes_arrays else _TAKING_PICTURES))
    name = f"p{ending}"
    command = ["run", "../given/m.onnx", f"../given/{name}", "-m"]
    command += [draw(st.sampled_from(["gradient", "occlusion", "auto"])), "--json", "-o", "../out"]
    files = {"m.onnx": MODELS[model], name: content}
    return Case("picture", f"{name}, {words}, for {model}", files, [command])
