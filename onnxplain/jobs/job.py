"""Explaining many pictures with one method, and saving the explanations."""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from onnxplain.errors import (
    BuiltGraphError,
    LayerError,
    MapError,
    ModelError,
    NotInPictureError,
    OnnxplainError,
    OptionError,
    OutputError,
    PictureError,
    TargetError,
)
from onnxplain.explainer import Explainer, Picture
from onnxplain.explainer.pipeline import in_order
from onnxplain.explainer.taken import PictureContent
from onnxplain.file_names import safe_name
from onnxplain.jobs.inputs import InputImage
from onnxplain.jobs.maps import MAP16, KeptMap, zarr_or_refuse
from onnxplain.jobs.records import MapPlace
from onnxplain.results.data import MapData
from onnxplain.results.explanation import Explanation
from onnxplain.results.formats import check_formats, encoded
from onnxplain.results.formats.png_file import encode_png
from onnxplain.results.formats.write import SameFolder, check_folder, write_files
from onnxplain.results.render.colormaps import check_colormap
from onnxplain.tensors import Array

Made = TypeVar("Made", bound=MapData)

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""As a path, an address has one slash after its protocol."""

LABEL = "label"
"""The target that means the true class of each picture."""

_AHEAD = 4
"""Number of pictures that may wait to be saved."""


Finish = Callable[[Picture, Sequence[Explanation]], Sequence[Explanation]]


@dataclass(frozen=True)
class Saving:
    """Where explanations are saved, in which formats, and in which colors.

    Files are written to the folder `unfinished` first, if there is one; see `write_files`.
    """

    folder: Path
    formats: Sequence[str]
    colormap: str
    unfinished: Path | None = None

    @property
    def file_formats(self) -> list[str]:
        """The formats of which each explanation has files of its own."""
        return [name for name in self.formats if name != MAP16]

    @property
    def keeps_maps(self) -> bool:
        """Whether maps are kept in shards, by the format map16."""
        return MAP16 in self.formats

    def check(self) -> None:
        """Raise OnnxplainError early for a format, colormap or folder that `save` cannot use."""
        check_formats(self.file_formats)
        if self.keeps_maps:
            zarr_or_refuse()
        check_colormap(self.colormap)
        if _ADDRESS.match(str(self.folder)):
            raise OptionError(
                f"{self.folder} is no folder on this machine: name one as --out, and copy it later."
            )
        check_folder(self.folder)

    def encoded(self, explanation: MapData, image: InputImage) -> dict[str, bytes]:
        """The files of an input's explanation by name; a map alone has none."""
        if not isinstance(explanation, Explanation):
            return {}
        return encoded(explanation, self.file_formats, self.colormap, image.name)

    def save(self, files: Mapping[str, bytes], image: InputImage) -> list[Path]:
        """Write the files of an input's explanation, and return their paths."""
        folder = self.folder / image.folder
        return write_files(folder, files, self.unfinished) if files else []

    def save_drawing(self, drawn: Array, image: InputImage, *parts: str | None) -> Path:
        """Write a PNG of an input, uint8 (h, w, 3), RGB; return its path.

        Its name has that of the input and the `parts` with dots between them, without those that
        are None.
        """
        named = [image.name, *(part for part in parts if part is not None)]
        name = ".".join([*map(safe_name, named), "png"])
        (path,) = write_files(self.folder / image.folder, {name: encode_png(drawn)})
        return path


@dataclass(frozen=True, eq=False)
class Computed:
    """The result for one picture, before it is saved: explanations with their files by name.

    The other fields are those of `Outcome`.
    """

    image: InputImage
    found: Sequence[tuple[MapData, Mapping[str, bytes]]] = ()
    empty: Sequence[MapError] = ()
    error: OnnxplainError | None = None
    maps: Sequence[KeptMap] = ()


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result for one picture: explanations with their files, and errors.

    `empty` has an error for each target whose map shows nothing. If `error` is set, the picture
    has no explanation at all. `maps` are kept by the format map16, one for each explanation, in the
    `places`.
    """

    image: InputImage
    saved: Sequence[tuple[MapData, list[Path]]] = ()
    empty: Sequence[MapError] = ()
    error: OnnxplainError | None = None
    maps: Sequence[KeptMap] = ()
    places: Sequence[MapPlace] = ()


@dataclass(frozen=True, eq=False)
class Job:
    """One method for many pictures.

    If `targets` is "label" alone, each picture is explained for its label. If `picture` is given,
    it is used instead of every picture's file, for methods that read no picture. `finish` is called
    with a picture and its explanations, and returns those to save.
    """

    explainer: Explainer
    method: str
    targets: Sequence[str]
    saving: Saving
    options: Mapping[str, Any] = field(default_factory=dict)
    picture: Picture | None = None
    finish: Finish | None = None

    def run(self, images: Iterable[InputImage]) -> Generator[Outcome]:
        """Explain pictures, save the explanations, and yield the outcomes in order.

        If a picture cannot be read or explained, its outcome holds the error, and the other
        pictures are still explained.

        Raises:
            OnnxplainError: an error that the next picture would cause too, such as an option out
                of range or files that cannot be written.
        """
        folder, workers = SameFolder(self.saving.folder), self.explainer.workers
        folder.check()

        def saved(found: _Found) -> Outcome:
            return self._saved(self._computed(found), folder)

        with closing(self._explained(images)) as explained:
            yield from in_order(saved, explained, _AHEAD, workers)
        folder.check()

    def computed(self, images: Iterable[InputImage]) -> Generator[Computed]:
        """As `run`, without saving anything."""
        with closing(self._explained(images)) as explained:
            yield from in_order(self._computed, explained, _AHEAD, self.explainer.workers)

    def saved(self, computed: Generator[Computed]) -> Generator[Outcome]:
        """Save what `computed` yielded, here or elsewhere, and yield the outcomes in order."""
        folder = SameFolder(self.saving.folder)
        folder.check()
        with closing(computed):
            yield from in_order(functools.partial(self._saved, folder=folder), computed, _AHEAD)
        folder.check()

    def _explained(self, images: Iterable[InputImage]) -> Generator[_Found]:
        """Each input with its explanations, or its error."""
        waiting: deque[InputImage] = deque()
        labels: deque[str] = deque()

        def pictures() -> Iterator[Picture]:
            for image in images:
                waiting.append(image)
                labels.append(image.label or "")
                yield self._given(image)

        def own_labels() -> Iterator[str]:
            while True:
                yield labels.popleft()

        # Else an error would keep its threads, or one of them would have to end them.
        with closing(self._explainable(pictures(), own_labels())) as found:
            for results in found:
                image = waiting.popleft()
                finish = self.finish
                yield image, _finished(finish, self._given(image), results) if finish else results

    def _explainable(
        self, pictures: Iterator[Picture], labels: Iterator[str]
    ) -> Generator[Sequence[MapData | MapError] | OnnxplainError]:
        """The results of pictures, whose labels are read after them.

        Heatmaps on the pictures are made only where a file of an explanation holds them.
        """
        explainer, drawn = self.explainer, self.saving.file_formats
        if self.explains_labels:
            of_own = explainer.try_each_own if drawn else explainer.try_own_values
            return of_own(pictures, labels, self.method, **self.options)
        of_all = explainer.try_many if drawn else explainer.try_values
        return of_all(pictures, self.method, self.targets, **self.options)

    @property
    def explains_labels(self) -> bool:
        """Whether each picture is explained for its own label."""
        return list(self.targets) == [LABEL]

    def _given(self, image: InputImage) -> Picture:
        if self.explains_labels and image.label is None:
            return PictureContent(image.address, lambda: _without_label(image))
        return image.given if self.picture is None else self.picture

    def _computed(self, found: _Found) -> Computed:
        image, results = found
        if isinstance(results, OnnxplainError):
            of_label = (TargetError,) if self.explains_labels else ()
            of_one = (*errors_of_one_picture(self.explainer), *of_label)
            if isinstance(results, BuiltGraphError) or not isinstance(results, of_one):
                raise results
            return Computed(image, error=results)
        shown, empty = explanations_and_errors(results)
        # The same class may have been requested twice, as in "top1,282".
        own = {one.target.name: one for one in shown}.values()
        with self.explainer.spent.on("save"):
            files = [(one, self.saving.encoded(one, image)) for one in own]
        maps = [KeptMap.of(one) for one in own] if self.saving.keeps_maps else []
        return Computed(image, files, empty, maps=maps)

    def _saved(self, computed: Computed, folder: SameFolder) -> Outcome:
        image = computed.image
        try:
            with self.explainer.spent.on("save"):
                saved = [(one, self.saving.save(files, image)) for one, files in computed.found]
        except OutputError:
            folder.check()  # which says it better, if the folder was removed
            raise
        folder.check()
        return Outcome(image, saved, computed.empty, computed.error, computed.maps)


def _without_label(image: InputImage) -> bytes:
    raise PictureError(
        f"{image.source} has no label, which --target {LABEL} explains: name the folder that holds "
        "a folder for each class, or another target."
    )


_Found = tuple[InputImage, Sequence[MapData | MapError] | OnnxplainError]


def _finished(
    finish: Finish, picture: Picture, found: Sequence[MapData | MapError] | OnnxplainError
) -> Sequence[MapData | MapError] | OnnxplainError:
    """What was found, with the explanations finished."""
    if isinstance(found, OnnxplainError):
        return found
    done = iter(finish(picture, [one for one in found if isinstance(one, Explanation)]))
    return [next(done) if isinstance(one, Explanation) else one for one in found]


def errors_of_one_picture(explainer: Explainer) -> tuple[type[OnnxplainError], ...]:
    """Types of errors that one picture can cause while other pictures can still be explained.

    If inputs have the size of their pictures, errors of model, layer and option can depend on it.
    """
    sized = (ModelError, LayerError, OptionError) if explainer.sizes_vary else ()
    return (PictureError, MapError, NotInPictureError, *sized)


def explanations_and_errors(
    found: Sequence[Made | MapError],
) -> tuple[list[Made], list[MapError]]:
    """Explanations, and errors; errors with the same message are kept once."""
    errors = {str(one): one for one in found if isinstance(one, MapError)}
    return [one for one in found if not isinstance(one, MapError)], list(errors.values())
