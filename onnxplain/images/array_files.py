"""Arrays from files: .npy files, and scenes of many bands from TIFF files."""

from __future__ import annotations

import struct
import threading
from importlib import import_module
from pathlib import Path
from tokenize import TokenError
from types import ModuleType

import numpy as np

from onnxplain.errors import PictureError
from onnxplain.regular_files import require_regular
from onnxplain.tensors import Array

_ONE_HEADER = threading.Lock()
"""Held while the header of a .npy file is read: numpy parses it with `ast`, which fails in CPython
3.11 if two threads do so at once ("AST constructor recursion depth mismatch")."""

_OF_NUMPY = (ValueError, EOFError, SyntaxError, TypeError, RecursionError, TokenError)
"""What numpy raises for a file that is damaged: its header is a literal of Python."""

_OF_TIFFFILE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
)
"""What tifffile and its codecs raise for a damaged file: a tag may hold values of any type."""

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})


def read_npy(path: Path) -> Array:
    """Read a .npy file; its values are read from the disk when they are used.

    Raises:
        PictureError: there is no such file, or it holds no array, or an empty one.
    """
    try:
        require_regular(path)
        with _ONE_HEADER:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise PictureError(f"There is no file {path}.") from None
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}.") from error
    except _OF_NUMPY as error:
        raise PictureError(f"{path} is not a .npy file, or holds no plain array.") from error
    if not isinstance(array, np.ndarray):
        raise PictureError(f"{path} holds several arrays: save the one that is meant as .npy.")
    if not array.size:
        raise PictureError(f"{path} holds no sample: its array of shape {array.shape} is empty.")
    return array


def read_tiff(path: Path) -> tuple[Array, str]:
    """Read the first image of a TIFF file, with any number of bands of any type.

    Returns the array, and a letter for each of its axes: "Y" and "X" are rows and columns, "S" or
    "C" the bands; others are pages of the file, whose meaning is not known, unless it is "Z", the
    depth.

    Raises:
        PictureError: the file cannot be read, or tifffile is not installed.
    """
    tifffile = _tifffile(path)
    try:
        require_regular(path)
        with tifffile.TiffFile(path) as file:
            scene = file.series[0]
            array, shape, axes = scene.asarray(), scene.shape, scene.axes
    except FileNotFoundError:
        raise PictureError(f"There is no file {path}.") from None
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}.") from error
    except _OF_TIFFFILE as error:
        hint = f"; {_INSTALL}" if "imagecodecs" in str(error) else ""
        reason = str(error) or "it is damaged"
        raise PictureError(f"{path} cannot be read as TIFF: {reason}{hint}.") from error
    if array.shape != shape:
        raise PictureError(
            f"{path} cannot be read as TIFF: its values have the shape {array.shape}, and its "
            f"header says {shape}."
        )
    return array, axes


_INSTALL = "pip install 'onnxplain[tiff]' provides it"


def _tifffile(path: Path) -> ModuleType:
    try:
        return import_module("tifffile")
    except ImportError:
        raise PictureError(
            f"Reading the bands of {path} needs tifffile: pip install 'onnxplain[tiff]'."
        ) from None
