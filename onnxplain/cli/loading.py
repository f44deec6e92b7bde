"""From what the user gave on the command line to what Python takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.cli.flags import Given
from onnxplain.errors import OptionError
from onnxplain.execution.baselines import BASELINES, BaselineSpec
from onnxplain.explainer import Explainer
from onnxplain.images.array_files import read_npy
from onnxplain.images.picture import ARRAY_SUFFIX, find_pictures
from onnxplain.methods.options import BASELINE, SAMPLES, Values
from onnxplain.methods.registry import OPTIONS
from onnxplain.tensors import Array


def open_model(
    path: Path, loading: Given, preprocess: Given, arrays: Given | None = None
) -> Explainer:
    """Load a model with the flags `MODEL`, `PREPROCESS` and `ARRAYS`, to explain one output.

    Raises:
        OnnxplainError: the model, a file that a flag names, or a flag's value is no good.
    """
    first, *others = open_outputs(path, loading, preprocess, arrays)
    if others:
        raise OptionError("This command explains one output: give --output only once.")
    return first


def open_outputs(
    path: Path, loading: Given, preprocess: Given, arrays: Given | None = None
) -> list[Explainer]:
    """Load a model once, to explain each of the outputs that are named; else the one found.

    Raises:
        OnnxplainError: as `open_model`.
    """
    first, *others = dict.fromkeys(loading.get("output", [None]))
    opened = _opened(path, {**loading, "output": first}, preprocess, arrays)
    return [opened, *map(opened.with_output, others)]


def _opened(path: Path, loading: Given, preprocess: Given, arrays: Given | None) -> Explainer:
    named = {"explain": "explain_input", "input": "inputs"}
    arguments = {named.get(name, name): value for name, value in loading.items()}
    inputs = dict(_read_input(text) for text in arguments.pop("inputs", ()))
    return Explainer(path, preprocess=preprocess, inputs=inputs, arrays=arrays, **arguments)


def method_options(given: Given, explainer: Explainer) -> Given:
    """The options of methods, with baselines and pictures read from their files.

    Raises:
        OnnxplainError: a baseline is neither a name nor a file that can be read.
    """
    return {
        name: reader(value, explainer) if (reader := _READERS.get(OPTIONS[name].values)) else value
        for name, value in given.items()
    }


def _absent(text: str, explainer: Explainer) -> BaselineSpec:
    """A baseline by name, from a .npy file, or from a picture, prepared as the others are."""
    path = Path(text)
    if text in BASELINES:
        return text
    if not path.is_file():
        raise OptionError(
            f"There is no baseline {text!r}: choose {', '.join(BASELINES)}, or name a picture or "
            "a .npy file."
        )
    if path.suffix == ARRAY_SUFFIX:
        return np.array(read_npy(path))
    return explainer.samples([path])[0]


def _samples(patterns: Sequence[str], explainer: Explainer) -> Array:
    """Pictures and arrays as the model takes them, (n, ...)."""
    samples = explainer.samples(find_pictures(patterns))
    if len({sample.shape for sample in samples}) > 1:
        raise OptionError(
            "The pictures of --baselines become inputs of different sizes: choose one with --size."
        )
    return np.concatenate(samples)


_READERS: Mapping[Values, Callable[[Any, Explainer], Any]] = {BASELINE: _absent, SAMPLES: _samples}
"""By the values that an option takes, those that the command line reads from files."""


def _read_input(text: str) -> tuple[str, Array]:
    name, equals, file = text.partition("=")
    if not name or not equals or not file:
        raise OptionError(f"--input takes NAME=FILE.npy, not {text!r}.")
    return name, np.array(read_npy(Path(file)))
