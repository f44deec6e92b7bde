"""Showing a picture on the screen."""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from pathlib import Path


def show_png(png: bytes) -> None:
    """Show a PNG below the cell of a notebook, else in the system's program for PNG files.

    Outside a notebook, a file is written to the system's folder of temporary files and stays there.
    """
    if "IPython" in sys.modules:
        from IPython import get_ipython  # type: ignore[import-not-found, unused-ignore]
        from IPython.display import Image, display  # type: ignore[import-not-found, unused-ignore]

        if get_ipython() is not None:
            display(Image(data=png))
            return
    with tempfile.NamedTemporaryFile(prefix="onnxplain-", suffix=".png", delete=False) as file:
        file.write(png)
    webbrowser.open(Path(file.name).as_uri())
