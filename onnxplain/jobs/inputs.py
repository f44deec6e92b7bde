"""The pictures of a job: finding them, and naming their output files."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from onnxplain.errors import PictureError
from onnxplain.explainer import Explainer
from onnxplain.explainer.taken import PictureContent, SampleInFile
from onnxplain.file_names import safe_name
from onnxplain.images.picture import FoundPicture, find_with_roots
from onnxplain.regular_files import require_regular
from onnxplain.results.names import UniqueNames

_HERE = PurePosixPath()


@dataclass(frozen=True)
class InputImage:
    """A picture's file, and how its output files are named.

    Attributes:
        path: the file.
        name: the first part of the names of its files.
        title: what stands next to a progress bar.
        sample: one of several samples in the file.
        folder: the folder of its files, below that of all results.
        label: the name of its true class, which is that of its folder; None if it is not known.
    """

    path: Path
    name: str
    title: str
    sample: SampleInFile | None = None
    folder: PurePosixPath = _HERE
    label: str | None = None

    @property
    def given(self) -> Path | SampleInFile | PictureContent:
        """What is explained."""
        return self.sample or self.path

    @property
    def source(self) -> str:
        """The file, and which of its samples, in words."""
        return f"{self.path}{'' if self.sample is None else f', sample {self.sample.index}'}"

    @property
    def address(self) -> str:
        """The file, and which of its samples, as an index holds it."""
        return f"{self.path}{'' if self.sample is None else f'[{self.sample.index}]'}"

    @property
    def id(self) -> str:
        """The folder and the name, which no other input of a job has."""
        return (self.folder / self.name).as_posix()

    @property
    def sha256(self) -> str | None:
        """Of the bytes of the file, in hexadecimal; None if it cannot be read."""
        try:
            require_regular(self.path)
            facts = self.path.stat()
            return _sha256(self.path, facts.st_size, facts.st_mtime_ns)
        except OSError:
            return None

    def named(self, id_: str) -> InputImage:
        """The same input with another folder and name."""
        place = PurePosixPath(id_)
        return replace(self, folder=place.parent, name=place.name)


@dataclass(frozen=True)
class StoredImage(InputImage):
    """A picture that has no file of its own on this machine: in an archive, or at an address."""

    content: Content = field(kw_only=True)

    @property
    def given(self) -> PictureContent:
        """See `InputImage`."""
        return PictureContent(self.content.address, self.content.read)

    @property
    def source(self) -> str:
        """See `InputImage`."""
        return self.content.address

    @property
    def address(self) -> str:
        """See `InputImage`."""
        return self.content.address

    @property
    def sha256(self) -> str | None:
        """See `InputImage`; None as long as it is not read."""
        return self.content.sha256


class Content:
    """The content of a picture's file at an address, and its hash after it was read."""

    def __init__(self, address: str, read: Callable[[], bytes]) -> None:
        self.address = address
        self.sha256: str | None = None
        self._read = read

    def read(self) -> bytes:
        """The content.

        Raises:
            PictureError: it cannot be read.
        """
        content = self._read()
        self.sha256 = hashlib.sha256(content).hexdigest()
        return content


def find_inputs(images: Sequence[str], recursive: bool = False) -> list[InputImage]:
    """List the pictures that files, folders and patterns name; see `find_with_roots`.

    Raises:
        PictureError: `images` is empty, a file does not exist, or a folder or pattern has no
            picture.
    """
    if not images:
        raise PictureError("No picture was given: name a file, a folder, or a pattern in quotes.")
    found = find_with_roots(images, recursive)
    places = [f" ({i} of {len(found)})" if len(found) > 1 else "" for i in range(1, len(found) + 1)]
    inputs = [_input(one, place) for one, place in zip(found, places, strict=True)]
    return uniquely_named(inputs)


@functools.lru_cache(maxsize=4)  # samples of one file come one after the other
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _input(found: FoundPicture, place: str) -> InputImage:
    folder = PurePosixPath(*map(safe_name, found.folders))
    label = found.folders[0] if found.folders else None
    return InputImage(
        found.path, found.path.stem, found.path.name + place, folder=folder, label=label
    )


def each_sample(images: Sequence[InputImage], explainer: Explainer) -> list[InputImage]:
    """The same files, with each sample of a .npy file that holds several by itself."""
    return uniquely_named(
        replace(image, name=f"{image.name}-{one.index}", sample=one)
        if isinstance(one, SampleInFile)
        else image
        for image in images
        for one in explainer.each([image.path])
    )


def uniquely_named(
    images: Iterable[InputImage], known: Mapping[str, str] | None = None
) -> list[InputImage]:
    """The inputs with names that are safe for files and different in each folder.

    `known` has ids by addresses: inputs with these addresses get them, and others get other ones.
    """
    listed, ids = list(images), known or {}
    taken: dict[str, UniqueNames] = {}
    for image in listed:
        if image.address in ids:
            place = PurePosixPath(ids[image.address])
            _names_in(place.parent, taken).claim(place.name)
    return [
        image.named(ids[image.address])
        if image.address in ids
        else replace(image, name=_names_in(image.folder, taken).claim(image.name))
        for image in listed
    ]


def _names_in(folder: PurePosixPath, taken: dict[str, UniqueNames]) -> UniqueNames:
    """The names that were claimed in a folder; some file systems ignore the case of its name."""
    return taken.setdefault(folder.as_posix().casefold(), UniqueNames())


def model_as_input(model: Path) -> InputImage:
    """The model file in place of a picture file, for methods that create the picture."""
    return InputImage(model, model.stem, model.name)
