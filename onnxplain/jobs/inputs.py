"""The pictures of a job: finding them, and naming their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxplain.errors import PictureError
from onnxplain.images.picture import find_pictures
from onnxplain.results.names import unique_names


@dataclass(frozen=True)
class InputImage:
    """A picture's file, what to call it in names of files, and beside a progress bar."""

    path: Path
    name: str
    title: str


def find_inputs(images: Sequence[str], recursive: bool = False) -> list[InputImage]:
    """Every picture that files, folders and patterns mean; see `find_pictures`.

    Raises:
        PictureError: there is no such file, or none that fits a pattern.
    """
    if not images:
        raise PictureError("No picture was given: name a file, a folder, or a pattern in quotes.")
    paths = find_pictures(images, recursive)
    names = unique_names(path.stem for path in paths)
    places = [f" ({i} of {len(paths)})" if len(paths) > 1 else "" for i in range(1, len(paths) + 1)]
    found = zip(paths, names, places, strict=True)
    return [InputImage(path, name, path.name + place) for path, name, place in found]


def model_as_input(model: Path) -> InputImage:
    """The model itself, in place of a picture, for methods that make one."""
    return InputImage(model, model.stem, model.name)
