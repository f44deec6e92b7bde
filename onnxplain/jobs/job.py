"""Explaining many pictures by one method, and saving what is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxplain.errors import (
    LayerError,
    MapError,
    ModelError,
    OnnxplainError,
    OptionError,
    PictureError,
)
from onnxplain.explainer import Explainer, Picture
from onnxplain.explainer.pipeline import in_order
from onnxplain.jobs.inputs import InputImage
from onnxplain.results.explanation import Explanation
from onnxplain.results.formats import check_formats
from onnxplain.results.formats.write import check_folder
from onnxplain.results.render.colormaps import check_colormap

_AHEAD = 4
"""Pictures that may wait to be saved."""


@dataclass(frozen=True)
class Saving:
    """Where explanations go, and as what."""

    folder: Path
    formats: Sequence[str]
    colormap: str

    def check(self) -> None:
        """Raise OnnxplainError for what would else fail only when there is something to save."""
        check_formats(self.formats)
        check_colormap(self.colormap)
        check_folder(self.folder)

    def save(self, explanation: Explanation, name: str) -> list[Path]:
        """Write one explanation's files; `name` stands for the picture in their names."""
        return explanation.save(
            self.folder, self.formats, colormap=self.colormap, picture_name=name
        )


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a picture: explanations with their files, and what went wrong.

    `empty` are targets whose map shows nothing; with an `error` there is no explanation at all.
    """

    image: InputImage
    saved: Sequence[tuple[Explanation, list[Path]]] = ()
    empty: Sequence[MapError] = ()
    error: OnnxplainError | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """One method for many pictures.

    `picture` takes the place of every picture's file, for methods that start from none.
    """

    explainer: Explainer
    method: str
    targets: Sequence[str]
    saving: Saving
    options: Mapping[str, Any] = field(default_factory=dict)
    picture: Picture | None = None

    def run(self, images: Sequence[InputImage]) -> Iterator[Outcome]:
        """Explain pictures and save what is found, in order, as each is done.

        A picture that cannot be read or explained is told, and the others go on.

        Raises:
            OnnxplainError: what the next picture would meet too, such as an option out of range,
                and files that cannot be written.
        """
        pictures = [image.path if self.picture is None else self.picture for image in images]
        found = self.explainer.try_many(pictures, self.method, self.targets, **self.options)
        yield from in_order(self._saved, zip(images, found, strict=True), _AHEAD)

    def _saved(
        self, found: tuple[InputImage, list[Explanation | MapError] | OnnxplainError]
    ) -> Outcome:
        image, results = found
        if isinstance(results, OnnxplainError):
            if not isinstance(results, errors_of_one_picture(self.explainer)):
                raise results
            return Outcome(image, error=results)
        shown, empty = told_apart(results)
        # The same class may have been asked for twice, as in "top1,282".
        own = {one.target.name: one for one in shown}.values()
        return Outcome(image, [(one, self.saving.save(one, image.name)) for one in own], empty)


def errors_of_one_picture(explainer: Explainer) -> tuple[type[OnnxplainError], ...]:
    """Errors that the next picture need not meet; one of another size may suit the model better."""
    own_size = explainer.preprocess.size is None
    sized = (ModelError, LayerError, OptionError) if own_size else ()
    return (PictureError, MapError, *sized)


def told_apart(found: Sequence[Explanation | MapError]) -> tuple[list[Explanation], list[MapError]]:
    """The explanations, and what is said of targets without, once for each."""
    errors = {str(one): one for one in found if isinstance(one, MapError)}
    return [one for one in found if isinstance(one, Explanation)], list(errors.values())
