"""The values of inputs as users give them: arrays, numbers, files of arrays, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from onnxplain.analysis.inputs import is_picture
from onnxplain.errors import OptionError
from onnxplain.images.array_files import read_npy
from onnxplain.images.picture import read_picture
from onnxplain.images.preprocess import Preprocess
from onnxplain.suggestions import closest
from onnxplain.tensors import Array, TensorSpec

InputValue = Array | float | Sequence[float] | Path | str
"""An array, numbers, or the path of a .npy file or of a picture."""


def read_values(
    specs: Sequence[TensorSpec],
    given: Mapping[str, InputValue],
    preprocess_of: Callable[[TensorSpec], Preprocess],
) -> dict[str, Array]:
    """The given values of a model's inputs as arrays, by name.

    `preprocess_of` finds how a picture becomes the value of an input.

    Raises:
        OnnxplainError: there is no such input, a file cannot be read, or a picture is given for an
            input that takes none.
    """
    known = {spec.name: spec for spec in specs}
    for name in given:
        if name not in known:
            raise OptionError(f"The model has no input {name!r}{closest(name, known)}.")
    return {name: _read(known[name], value, preprocess_of) for name, value in given.items()}


def _read(
    spec: TensorSpec, value: InputValue, preprocess_of: Callable[[TensorSpec], Preprocess]
) -> Array:
    if spec.dtype == object:
        raise OptionError(
            f"The input {spec.name!r} takes texts, which cannot be given: cut the model after the "
            "part that turns texts into numbers."
        )
    if not isinstance(value, str | Path):
        return np.asarray(value)
    path = Path(value)
    if path.suffix == ".npy":
        return np.array(read_npy(path))
    if not path.is_file():
        raise OptionError(
            f"{str(value)!r} is no value for the input {spec.name!r}: give numbers such as 0.5 or "
            "1,5,9, a .npy file, or a picture that exists."
        )
    if not is_picture(spec):
        raise OptionError(
            f"The input {spec.name!r} takes {spec.sizes} {spec.dtype}, which is no picture: give "
            f"numbers or a .npy file instead of {path}."
        )
    return preprocess_of(spec).apply(read_picture(path))[0]
