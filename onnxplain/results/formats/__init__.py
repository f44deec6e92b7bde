"""The files of an explanation, one for each format.

A format is an entry of `FORMATS`: it turns an explanation into bytes. `write_files` writes the
bytes of all formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from onnxplain.errors import OptionError
from onnxplain.results.data import ExplanationData
from onnxplain.results.formats import arrays, manifest, png, yml
from onnxplain.results.formats.stem import file_stem
from onnxplain.results.formats.write import write_files
from onnxplain.results.render.colormaps import check_colormap


class Format(NamedTuple):
    """The ending of a file's name, and the function that makes the file's bytes.

    `encode` takes an explanation, the name of a colormap, and the files of the formats before this
    one, as bytes by file name.
    """

    ending: str
    encode: Callable[[ExplanationData, str, Mapping[str, bytes]], bytes]


# In the order of writing: the manifest lists the other files, so it comes last.
FORMATS: dict[str, Format] = {
    "npy": Format(".npy", lambda e, *_: arrays.npy(e.values)),
    "heatmap": Format(".heatmap.npy", lambda e, *_: arrays.npy(e.heatmap)),
    "png": Format(".png", lambda e, colormap, _: png.encode(e, colormap)),
    "tiff": Format(".tiff", lambda e, *_: arrays.tiff(e.heatmap)),
    "png16": Format(".heatmap16.png", lambda e, *_: arrays.png16(e.heatmap)),
    "yml": Format(".yml", lambda e, *_: yml.encode(e)),
    "json": Format(".json", lambda e, _, files: manifest.encode(e, files)),
}

DEFAULT_FORMATS = ("npy", "heatmap", "png", "json")


def check_formats(names: Iterable[str]) -> None:
    """Raise OptionError unless every name is a format."""
    for name in names:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise OptionError(f"There is no format {name!r}; choose from {known}.")


def save_explanation(
    explanation: ExplanationData,
    folder: Path,
    formats: Sequence[str],
    colormap: str,
    picture_name: str | None = None,
    unfinished: Path | None = None,
) -> list[Path]:
    """Write an explanation's files; see `onnxplain.Explanation.save` and `write_files`."""
    files = encoded(explanation, formats, colormap, picture_name)
    return write_files(folder, files, unfinished) if files else []


def encoded(
    explanation: ExplanationData,
    formats: Sequence[str],
    colormap: str,
    picture_name: str | None = None,
) -> dict[str, bytes]:
    """The files of an explanation, by name."""
    check_formats(formats)
    check_colormap(colormap)
    stem = file_stem(explanation, picture_name)
    files: dict[str, bytes] = {}
    for name, (ending, encode) in FORMATS.items():
        if name in formats:
            files[stem + ending] = encode(explanation, colormap, files)
    return files
