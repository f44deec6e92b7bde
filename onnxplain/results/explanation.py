"""The result that users hold: the data of an explanation, which can draw and save itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxplain.results.data import Attribution, ExplanationData, ModelFacts, Provenance
from onnxplain.results.formats import DEFAULT_FORMATS, save_explanation
from onnxplain.results.formats.png import draw
from onnxplain.results.formats.png_file import encode_png
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.results.show import show_png
from onnxplain.targets.described import ExplainedTarget
from onnxplain.tensors import Array

__all__ = ["Attribution", "ExplainedTarget", "Explanation", "ModelFacts", "Provenance"]


class Explanation(ExplanationData):
    """Where a model looked in one picture, for one target; see `ExplanationData` for what it holds.

    Formats and drawings know the data only, so nothing that they need is defined here.
    """

    def draw(self, colormap: str = DEFAULT_COLORMAP) -> Array:
        """Return what the png format shows, with caption and scale: uint8 (h, w, 3), RGB.

        Raises:
            OptionError: no such colormap.
        """
        return draw(self, colormap)

    def show(self, colormap: str = DEFAULT_COLORMAP) -> None:
        """Show what the png format shows: in a notebook below the cell, else in a window.

        Raises:
            OptionError: no such colormap.
        """
        show_png(encode_png(self.draw(colormap)))

    def _repr_png_(self) -> bytes:
        """What a notebook shows of an explanation that ends a cell."""
        return encode_png(self.draw())

    def save(
        self,
        folder: str | Path,
        formats: str | Sequence[str] = DEFAULT_FORMATS,
        *,
        colormap: str = DEFAULT_COLORMAP,
        picture_name: str | None = None,
    ) -> list[Path]:
        """Write the explanation's files, all of them or none, and return their paths.

        The files are called `<picture>.<method>.<target>` plus an ending for each format; files of
        the same name are replaced.

        Args:
            folder: made if it does not exist.
            formats: names from `onnxplain.results.formats.FORMATS`, or one text with commas
                between them.
            colormap: for the overlay, one of `onnxplain.results.render.colormaps.COLORMAPS`.
            picture_name: the first part of the file names instead of the picture's own name, for
                pictures from different folders that are called the same; see
                `onnxplain.results.names.unique_names`.

        Raises:
            OptionError: no such format or colormap.
            OutputError: the files could not be written, for example because the disk is full.
        """
        names = formats.split(",") if isinstance(formats, str) else formats
        return save_explanation(self, Path(folder), names, colormap, picture_name)
