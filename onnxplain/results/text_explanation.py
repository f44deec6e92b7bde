"""The result that users get for a text: its data, with methods to draw and save it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType

from onnxplain.results.formats.text_files import TEXT_FORMATS, save_text
from onnxplain.results.render.words import as_html, on_terminal
from onnxplain.results.text_data import TextData


class TextExplanation(TextData):
    """The explanation of one text for one target; see `TextData` for its fields."""

    def _repr_html_(self) -> str:
        """What a notebook shows for an explanation at the end of a cell."""
        return as_html(self)

    def __rich__(self) -> RenderableType:
        """What `rich.print` shows on a terminal."""
        return on_terminal(self)

    def html(self) -> str:
        """The text with background colors, as a part of an HTML page."""
        return as_html(self)

    def save(
        self,
        folder: str | Path,
        formats: str | Sequence[str] = tuple(TEXT_FORMATS),
        *,
        name: str | None = None,
    ) -> list[Path]:
        """Write the explanation's files, all of them or none, and return their paths.

        The files are called `<name>.<method>.<target>` plus an ending for each format.

        Args:
            folder: created if it does not exist.
            formats: npy, html or json, or one string of names separated by commas.
            name: the first part of the file names; by default the first words of the text.

        Raises:
            OptionError: no such format.
            OutputError: the files could not be written, for example because the disk is full.
        """
        names = formats.split(",") if isinstance(formats, str) else formats
        return save_text(self, Path(folder), names, name)
