"""Pictures from files and arrays: always RGB, 0..255, uint8 where they were 8-bit, else float32."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxplain.errors import PictureError
from onnxplain.images.opencv import cv2
from onnxplain.regular_files import is_there, read_regular
from onnxplain.tensors import Array, FloatArray

MAX_PIXELS = 2**28
"""Largest number of pixels of a picture: 16,384 x 16,384, or 3 GiB as RGB float32.

Photographs of 200-megapixel cameras are below this limit; 30,000 x 30,000 is above it. OpenCV's
own limit, the environment variable OPENCV_IO_MAX_IMAGE_PIXELS, refuses such a file before it is
decoded. OpenCV reads the variable only when cv2 is loaded. So a program should set it, not a
library.
"""

ARRAY_SUFFIX = ".npy"

SUFFIXES = frozenset(
    ".avif .bmp .dib .exr .gif .hdr .jp2 .jpe .jpeg .jpg .pbm .pfm .pgm .png .pnm .ppm .ras .sr"
    " .tif .tiff .webp".split()
)
"""Endings of picture files in folders and patterns. A file given by its path may have any."""

_TO_255 = {"uint8": 1.0, "uint16": 1 / 257, "float32": 255.0, "float64": 255.0}


def read_picture(path: str | Path) -> FloatArray:
    """Read a picture file as (H, W, 3) RGB float32 in 0..255; see `read_pixels`."""
    return read_pixels(Path(path)).astype(np.float32, copy=False)


def read_pixels(path: Path) -> Array:
    """Read a picture file as (H, W, 3) RGB in 0..255, rotated as EXIF says.

    Accepts every format that OpenCV decodes. Samples of 8 bits stay uint8, others become float32.
    Samples of 16 bits are divided by 257, which keeps their precision. Float samples must be in
    [0, 1]. Gray becomes three equal channels. Alpha is dropped without blending, as Pillow's
    `convert("RGB")` and deployed pipelines do (OpenCV itself multiplies 8-bit TIFF colors by their
    alpha).

    Raises PictureError if the file is missing, empty, a folder, not readable, not a picture, or
    larger than MAX_PIXELS, or if its samples have another type or range.
    """
    return _pixels(_read_bytes(path), str(path))


def decode_pixels(data: bytes, name: str = "The picture given as bytes") -> Array:
    """Decode the content of a picture file, whose name in errors is given; see `read_pixels`."""
    if not data:
        raise PictureError(f"{name} is empty.")
    return _pixels(np.frombuffer(data, np.uint8), name)


def _pixels(data: Array, name: str) -> Array:
    decoded = _decode(data, name)
    _check_size(decoded, name)
    scale = _TO_255.get(decoded.dtype.name)
    if scale is None:
        raise PictureError(
            f"{name} holds {decoded.dtype.name} samples: save it with 8 or 16 bits, unsigned, "
            "or as float in 0..1."
        )
    if decoded.dtype.kind == "f":
        _check_range(decoded, 1.0, name)
    if decoded.dtype == np.uint8:
        return _to_rgb(decoded)
    return _to_rgb(decoded.astype(np.float32, copy=False)) * np.float32(scale)


def as_pixels(array: Array) -> Array:
    """Convert an array to a picture: (H, W, 3) RGB in 0..255, uint8 if it is uint8, else float32.

    `array` is (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA (alpha is dropped); uint8,
    uint16 (divided by 257) or float in 0..255. A float32 result may share memory with
    `array`. A uint8 result never does, because explanations keep it.

    Raises PictureError for other shapes and types, for values that are not finite or outside
    0..255, and for floats that are all at most 1 and not all 0: they are probably in 0..1.
    """
    name = "the array"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PictureError(
            f"{name} has shape {array.shape}: a picture is (H, W), (H, W, 1), (H, W, 3) "
            "or (H, W, 4), channels last."
        )
    _check_size(array, name)
    if array.dtype.kind == "f":
        _check_range(array, 255.0, name)
        if 0 < array.max() <= 1:
            raise PictureError(f"{name} is in 0..1: multiply it by 255, pictures are in 0..255.")
    elif array.dtype.name not in _TO_255:
        raise PictureError(
            f"{name} is {array.dtype.name}: a picture is uint8, uint16 or float in 0..255."
        )
    planes = array if array.ndim == 3 else array[..., None]
    rgb = np.broadcast_to(planes[..., :3], (*planes.shape[:2], 3))
    if array.dtype == np.uint8:
        return np.array(rgb, order="C")
    picture = np.ascontiguousarray(rgb, np.float32)
    return picture / np.float32(257) if array.dtype == np.uint16 else picture


def as_uint8(pixels: Array) -> Array:
    """Round pixels in 0..255 to uint8; an array that is already uint8 is returned unchanged."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def picture_path(given: str | Path) -> Path:
    """The path of a picture that was given as text or as a path.

    Raises PictureError if it is the address of a page.
    """
    if isinstance(given, str) and _ADDRESS.match(given):
        raise PictureError(f"{given} is an address, not a file: download the picture first.")
    return Path(given)


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class FoundPicture:
    """A picture's file, and where it was found: below the folder `root`."""

    path: Path
    root: Path

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders between the root and the file."""
        return self.path.relative_to(self.root).parts[:-1]


def find_pictures(patterns: Sequence[str | Path], recursive: bool = False) -> list[Path]:
    """The files of `find_with_roots`."""
    return [found.path for found in find_with_roots(patterns, recursive)]


def find_with_roots(patterns: Sequence[str | Path], recursive: bool = False) -> list[FoundPicture]:
    """List the pictures that files, folders and glob patterns name, in order, each one once.

    A folder means the pictures directly in it, or if it has none its .npy files; with `recursive`,
    also those in all folders below it. A pattern (`*`, `?`, `[..]`, `**`) means the pictures and
    .npy files that it matches. All are sorted by name. The path of an existing file always means
    that file, also if its suffix is unknown or its name has glob characters.

    The root of what is in a folder is the folder; of what fits a pattern, the folders before its
    first glob character; of other files their own folder.

    Raises PictureError if an entry names no picture, or is in a folder that may not be read.
    """
    found: dict[Path, FoundPicture] = {}
    for pattern in patterns:
        given = picture_path(pattern)
        try:
            paths = _expand(given, recursive)
        except OSError as error:
            raise PictureError(f"{given} cannot be read: {error.strerror or error}.") from error
        for path in paths:
            found.setdefault(path.resolve(), FoundPicture(path, _root(given, path)))
    return list(found.values())


def is_pattern(path: Path) -> bool:
    """Whether this is a glob pattern, and not the path of a file that exists."""
    return glob.has_magic(str(path)) and not is_there(path)


def _root(given: Path, path: Path) -> Path:
    if given.is_dir():
        return given
    if not is_pattern(given):
        return path.parent
    plain = itertools.takewhile(lambda part: not glob.has_magic(part), given.parts[:-1])
    return Path(*plain)


def _expand(path: Path, recursive: bool) -> list[Path]:
    found: Iterable[Path]
    if path.is_dir():
        found = path.glob("**/*" if recursive else "*")
        nothing = f"The folder {path} holds no pictures"
    elif path.exists():
        return [path]
    elif glob.has_magic(str(path)):
        # Path.glob refuses absolute patterns.
        found = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207
        nothing = f"No picture matches {path}"
    else:
        raise PictureError(f"{path} does not exist.")
    files = sorted(one for one in found if _suffix(one) in _READ and one.is_file())
    # A folder of pictures may hold the .npy files of their explanations.
    pictures = [one for one in files if _suffix(one) in SUFFIXES] if path.is_dir() else files
    pictures = pictures or files
    if not pictures:
        if path.is_dir() and not recursive and any(one.is_dir() for one in path.iterdir()):
            nothing += ", and --recursive searches the folders in it"
        raise PictureError(f"{nothing} (files that end in {', '.join(sorted(_READ))}).")
    return pictures


_READ = SUFFIXES | {ARRAY_SUFFIX}


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _read_bytes(path: Path) -> Array:
    """Read a file without OpenCV, which cannot open every path and does not report the reason."""
    if is_there(path) and path.is_dir():
        raise PictureError(f"{path} is a folder, not a picture.")
    try:
        data = np.frombuffer(read_regular(path), np.uint8)
    except FileNotFoundError:
        raise PictureError(f"{path} does not exist.") from None
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}.") from error
    if data.size == 0:
        raise PictureError(f"{path} is empty.")
    return data


def _decode(data: Array, name: str) -> Array:
    """Decode to (H, W) gray or (H, W, 3) BGR in the file's own sample type."""
    try:
        # Not IMREAD_COLOR: it fails on gray float TIFF. Not IMREAD_UNCHANGED: it skips EXIF.
        decoded = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error) or error.code == cv2.Error.StsNoMem:
            raise _too_large(name) from None
        decoded = None
    if decoded is None:
        raise PictureError(
            f"{name} is not a picture that OpenCV can decode, or is damaged or cut short: "
            "convert it to PNG or JPEG."
        )
    return np.asarray(decoded)


def _check_size(array: Array, name: str) -> None:
    if array.size == 0:
        raise PictureError(f"{name} has no pixels: its shape is {array.shape}.")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise _too_large(f"{name}, of {array.shape[1]:,} x {array.shape[0]:,} pixels,")


def _too_large(name: str) -> PictureError:
    return PictureError(
        f"{name} is too large: the most is {MAX_PIXELS:,} pixels, so scale it down first."
    )


def _check_range(array: Array, top: float, name: str) -> None:
    low, high = float(array.min()), float(array.max())
    # Written so that NaN, for which every comparison is false, fails too.
    if not (low >= 0 and high <= top):
        raise PictureError(
            f"{name} holds float samples from {low:g} to {high:g}: they must be in 0..{top:g}."
        )


def _to_rgb(decoded: Array) -> Array:
    """(H, W) gray or (H, W, 3) BGR, uint8 or float32, as contiguous (H, W, 3) RGB."""
    order = cv2.COLOR_GRAY2RGB if decoded.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(decoded, order))
