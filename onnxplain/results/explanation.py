"""The result that users get: the data of an explanation, with methods to draw and save it."""

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
    """The explanation of one picture for one target; see `ExplanationData` for its fields.

    Formats and drawings use `ExplanationData` only, so all that they need is defined there.
    """

    def draw(self, colormap: str = DEFAULT_COLORMAP) -> Array:
        """Return the picture of the png format, with caption and color bar: uint8 (h, w, 3), RGB.

        Raises:
            OptionError: no such colormap.
        """
        return draw(self, colormap)

    def show(self, colormap: str = DEFAULT_COLORMAP) -> None:
        """Show the picture of the png format: in a notebook below the cell, else in a window.

        Raises:
            OptionError: no such colormap.
        """
        show_png(encode_png(self.draw(colormap)))

    def _repr_png_(self) -> bytes:
        """The PNG file that a notebook shows for an explanation at the end of a cell."""
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
            folder: created if it does not exist.
            formats: names from `onnxplain.results.formats.FORMATS`, or one string of names
                separated by commas.
            colormap: for the overlay, one of `onnxplain.results.render.colormaps.COLORMAPS`.
            picture_name: the first part of the file names, instead of the picture's own name. It
                is needed for pictures of the same name from different folders; see
                `onnxplain.results.names.unique_names`.

        Raises:
            OptionError: no such format or colormap.
            OutputError: the files could not be written, for example because the disk is full.
        """
        names = formats.split(",") if isinstance(formats, str) else formats
        return save_explanation(self, Path(folder), names, colormap, picture_name)
