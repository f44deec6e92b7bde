"""Take what a user gives: pictures, which are prepared for the model, and arrays for its input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

import numpy as np

from onnxplain.analysis.inputs import is_picture, require_picture
from onnxplain.errors import OnnxplainError, PictureError, attempted
from onnxplain.explainer.array import Arrays
from onnxplain.explainer.array_settings import USED, Scaling
from onnxplain.explainer.picture import take
from onnxplain.explainer.taken import Picture, PictureContent, SampleInFile, Taken
from onnxplain.forks import check_process
from onnxplain.images.array_files import TIFF_SUFFIXES
from onnxplain.images.files import read_sidecar
from onnxplain.images.picture import ARRAY_SUFFIX, picture_path
from onnxplain.images.preprocess import Preprocess
from onnxplain.tensors import Array, TensorSpec


class Intake:
    """Takes pictures and arrays for one input of a model.

    A .npy file is an array in the form of the input, and so are, where the input takes no pictures
    (1 or 3 channels), a TIFF file and an array in Python. Where it does, an array in Python is an
    RGB picture, unless it has a batch axis.
    """

    def __init__(
        self,
        spec: TensorSpec,
        preprocess: Callable[[], Preprocess],
        arrays: Arrays,
    ) -> None:
        """`preprocess` is called only for pictures."""
        self._takes_pictures = is_picture(spec)
        self._preprocess = preprocess
        self._arrays = arrays

    @property
    def origin(self) -> str:
        """Where the settings come from by which pictures, or arrays, become the input."""
        if self._takes_pictures:
            return self._preprocess().origin
        return f"arrays, which have only {', '.join(USED)}"

    @property
    def sizes_vary(self) -> bool:
        """Whether samples may have different sizes."""
        if self._takes_pictures:
            return self._preprocess().varies
        shape = self._arrays.spec.shape
        return shape is None or not all(isinstance(size, int) for size in shape[1:])

    def each(self, given: Iterable[Picture]) -> Iterator[Picture]:
        """What is given, in order, with each sample of an array or a file of several by itself.

        A file that cannot be read stays as it is; `take` raises its error.
        """
        for one in given:
            samples = attempted(self._arrays.each, one) if self._is_array(one) else []
            yield from [one] if isinstance(samples, OnnxplainError) or not samples else samples

    def take(self, given: Picture) -> Taken:
        """The sample of a picture or an array.

        Raises:
            PictureError: it cannot be read, or does not fit the model, or it is the file of a
                picture, and the model takes none.
            ModelError: it is another picture, and the model takes none.
            OptionError: a setting of arrays does not fit it.
            ProcessError: this process was forked at a bad moment.
        """
        check_process()
        if isinstance(given, Taken):
            return given
        if isinstance(given, SampleInFile) or self._is_array(given):
            return self._arrays.take(given)
        if not self._takes_pictures and isinstance(given, str | Path | PictureContent):
            name = given.address if isinstance(given, PictureContent) else given
            no_picture = attempted(require_picture, self._arrays.spec)
            raise PictureError(f"{name}: {no_picture}")
        return take(given, self._preprocess())

    def kind(self, given: Picture) -> str:
        """What it is: "picture", or the kind of an array.

        A picture is not read, where the input takes pictures.

        Raises:
            OnnxplainError: as `take`.
        """
        is_array = isinstance(given, SampleInFile | Taken) or self._is_array(given)
        facts = self.take(given).array if is_array or not self._takes_pictures else None
        return "picture" if facts is None else facts.kind

    def _is_array(self, given: Picture) -> TypeGuard[str | Path | Array]:
        if isinstance(given, np.ndarray):
            return not self._takes_pictures or given.ndim == 4
        if not isinstance(given, str | Path):
            return False
        suffix = picture_path(given).suffix.lower()
        return suffix == ARRAY_SUFFIX or (suffix in TIFF_SUFFIXES and not self._takes_pictures)


def find_scaling(
    spec: TensorSpec,
    model_path: Path | None,
    preprocess: Preprocess | Mapping[str, object] | None,
) -> Scaling:
    """How arrays are scaled for the input `spec`: by the single settings `preprocess`.

    A `Preprocess` as a whole is for pictures, and so is the sidecar file of a model that takes
    pictures.

    Raises:
        PreprocessError: a setting is malformed, or has no effect.
    """
    given = preprocess if isinstance(preprocess, Mapping) else {}
    if is_picture(spec):
        return Scaling.of(given, others_allowed=True)
    sidecar = read_sidecar(model_path)
    written = {} if sidecar is None else sidecar.content.get("preprocess", {})
    known = dict(written) if isinstance(written, Mapping) else {}
    return Scaling.of({**known, **given}, others_allowed=False)
