"""The files of an explanation, one small module per format.

A format is a row in `FORMATS`: it turns an explanation into bytes. Writing them, whole or not at
all, is done in one place for all formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from onnxplain.errors import OptionError
from onnxplain.results.data import ExplanationData
from onnxplain.results.formats import manifest, npy, png, png16, tiff, yml
from onnxplain.results.formats.encoding import Format, Request
from onnxplain.results.formats.stem import file_stem
from onnxplain.results.formats.write import write_files
from onnxplain.results.render import check_colormap

__all__ = [
    "DEFAULT_FORMATS",
    "FORMATS",
    "Format",
    "check_formats",
    "save_explanation",
]

# In the order of writing: the manifest lists the other files, so it comes last.
FORMATS: dict[str, Format] = {
    "npy": Format("raw values, float32 NumPy array", npy.encode_values),
    "heatmap": Format("the heatmap, float32 NumPy array", npy.encode_heatmap),
    "png": Format("the heatmap drawn over the picture", png.encode),
    "tiff": Format("the heatmap, float32 TIFF", tiff.encode),
    "png16": Format("the heatmap, 16-bit grey PNG", png16.encode),
    "yml": Format("raw values, heatmap and key facts, OpenCV FileStorage", yml.encode),
    "json": Format("manifest: what was computed, how, and with what", manifest.encode),
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
) -> list[Path]:
    """Write an explanation's files; see `onnxplain.Explanation.save`."""
    check_formats(formats)
    check_colormap(colormap)
    stem = file_stem(explanation, picture_name)
    files: dict[str, bytes] = {}
    for name, each in FORMATS.items():
        if name in formats:
            encoded = each.encode(explanation, Request(colormap, files))
            files.update({stem + ending: data for ending, data in encoded.items()})
    return write_files(folder, files)
