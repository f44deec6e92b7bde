"""The pictures of a job: finding them, and naming their output files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxplain.errors import PictureError
from onnxplain.explainer import Explainer
from onnxplain.explainer.taken import SampleInFile
from onnxplain.images.picture import find_pictures
from onnxplain.results.names import unique_names


@dataclass(frozen=True)
class InputImage:
    """A picture's file, its name in output file names, and its title next to a progress bar.

    `sample` is one of several samples in the file.
    """

    path: Path
    name: str
    title: str
    sample: SampleInFile | None = None

    @property
    def given(self) -> Path | SampleInFile:
        """What is explained."""
        return self.sample or self.path

    @property
    def source(self) -> str:
        """The file, and which of its samples, in words."""
        return f"{self.path}{'' if self.sample is None else f', sample {self.sample.index}'}"


def find_inputs(images: Sequence[str], recursive: bool = False) -> list[InputImage]:
    """List the pictures that files, folders and patterns name; see `find_pictures`.

    Raises:
        PictureError: `images` is empty, a file does not exist, or a folder or pattern has no
            picture.
    """
    if not images:
        raise PictureError("No picture was given: name a file, a folder, or a pattern in quotes.")
    paths = find_pictures(images, recursive)
    names = unique_names(path.stem for path in paths)
    places = [f" ({i} of {len(paths)})" if len(paths) > 1 else "" for i in range(1, len(paths) + 1)]
    found = zip(paths, names, places, strict=True)
    return [InputImage(path, name, path.name + place) for path, name, place in found]


def each_sample(images: Sequence[InputImage], explainer: Explainer) -> list[InputImage]:
    """The same files, with each sample of a .npy file that holds several by itself."""
    found = [(image, one) for image in images for one in explainer.each([image.path])]
    names = unique_names(
        f"{image.name}-{one.index}" if isinstance(one, SampleInFile) else image.name
        for image, one in found
    )
    return [
        replace(image, name=name, sample=one if isinstance(one, SampleInFile) else None)
        for name, (image, one) in zip(names, found, strict=True)
    ]


def model_as_input(model: Path) -> InputImage:
    """The model file in place of a picture file, for methods that create the picture."""
    return InputImage(model, model.stem, model.name)
