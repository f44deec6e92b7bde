"""From what the user gave on the command line to what Python takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.cli.flags import Given
from onnxplain.errors import OptionError, attempted
from onnxplain.execution.baselines import BASELINES, BaselineSpec
from onnxplain.explainer import Explainer
from onnxplain.explainer.input_values import InputValue
from onnxplain.images.array_files import read_npy
from onnxplain.images.picture import ARRAY_SUFFIX, find_pictures
from onnxplain.images.preprocess import Preprocess
from onnxplain.methods.options import BASELINE, SAMPLES, Values, options_of
from onnxplain.methods.registry import METHODS, OPTIONS
from onnxplain.tensors import Array
from onnxplain.texts.tokenizer import find_tokenizer
from onnxplain.texts.tokens import Text

_TEXTS = "text", "text_pair"
"""The flags that hold a text."""


def open_model(
    path: Path, loading: Given, preprocess: Given | Preprocess, arrays: Given | None = None
) -> Explainer:
    """Load a model with the flags `MODEL`, `PREPROCESS` and `ARRAYS`, to explain one output.

    `preprocess` may also be that of another model.

    Raises:
        OnnxplainError: the model, a file that a flag names, or a flag's value is no good.
    """
    first, *others = open_outputs(path, loading, preprocess, arrays)
    if others:
        raise OptionError("This command explains one output: give --output only once.")
    return first


def open_outputs(
    path: Path, loading: Given, preprocess: Given | Preprocess, arrays: Given | None = None
) -> list[Explainer]:
    """Load a model once, to explain each of the outputs that are named; else the one found.

    Raises:
        OnnxplainError: as `open_model`.
    """
    first, *others = dict.fromkeys(loading.get("output", [None]))
    opened = _opened(path, {**loading, "output": first}, preprocess, arrays)
    return [opened, *map(opened.with_output, others)]


def _opened(
    path: Path, loading: Given, preprocess: Given | Preprocess, arrays: Given | None
) -> Explainer:
    named = {"explain": "explain_input", "input": "inputs"}
    arguments = {named.get(name, name): value for name, value in loading.items()}
    inputs = dict(_named_value(text) for text in arguments.pop("inputs", ()))
    if "provider_option" in arguments:
        arguments["provider_options"] = dict(map(_option, arguments.pop("provider_option")))
    texts = texts_of(arguments)
    arguments = {name: value for name, value in arguments.items() if name not in _TEXTS}
    if texts:
        arguments["text"] = texts
    return Explainer(path, preprocess=preprocess, inputs=inputs, arrays=arrays, **arguments)


def open_text_model(path: Path, loading: Given, preprocess: Given) -> Explainer:
    """As `open_model`, for a model whose texts are explained: they fill no input before."""
    tokenizer = loading.get("tokenizer") or find_tokenizer(path)
    rest = {name: value for name, value in loading.items() if name not in _TEXTS}
    return open_model(path, rest | {"tokenizer": tokenizer}, preprocess)


def open_any_model(path: Path, loading: Given, preprocess: Given) -> Explainer:
    """As `open_model`, also for a model of texts, whether or not a text is given."""
    texts_of(loading)
    rest = {name: value for name, value in loading.items() if name not in _TEXTS}
    found = attempted(open_model, path, rest, preprocess)
    if isinstance(found, Explainer) and (found.reads_texts or rest == loading):
        return found
    return open_model(path, loading, preprocess)


def texts_of(loading: Given) -> list[Text]:
    """The texts of a command line, or the one pair of texts.

    Raises:
        OptionError: there is a second text without a first one, or with several.
    """
    texts, second = loading.get("text", []), loading.get("text_pair")
    if second is None:
        return list(texts)
    if len(texts) != 1:
        raise OptionError("--text-pair is the second text of a pair: give one --text with it.")
    return [(texts[0], second)]


def method_options(given: Given, explainer: Explainer) -> Given:
    """The options of methods, with baselines and pictures read from their files.

    Raises:
        OnnxplainError: a baseline is neither a name nor a file that can be read.
    """
    return {
        name: reader(value, explainer) if (reader := _READERS.get(OPTIONS[name].values)) else value
        for name, value in given.items()
    }


def options_of_each(methods: Sequence[str], options: Given) -> dict[str, Given]:
    """Those of the options that each method has."""
    has = {name: options_of(METHODS[name]) for name in methods if name in METHODS}
    for option in options:
        if len(has) == len(set(methods)) and not any(option in own for own in has.values()):
            raise OptionError(f"None of {', '.join(has)} has an option {option!r}.")
    return {m: {k: v for k, v in options.items() if k in has.get(m, ())} for m in methods}


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


def _option(text: str) -> tuple[str, str]:
    """The name and the value of an option of the provider."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise OptionError(f"--provider-option takes KEY=VALUE, not {text!r}.")
    return name, value


_TRUTHS = {"true": True, "false": False}


def _named_value(text: str) -> tuple[str, InputValue]:
    """The name and the value of `NAME=VALUE`: numbers, or the path of a file."""
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise OptionError(
            f"--input takes NAME=VALUE, not {text!r}: the value is numbers, a .npy file or a "
            "picture."
        )
    try:
        numbers = [_number(word) for word in value.split(",")]
    except ValueError:
        return name, Path(value)
    return name, numbers if len(numbers) > 1 else numbers[0]


def _number(word: str) -> float:
    """A whole number exactly, another number, or true and false; ValueError if it is none."""
    known = _TRUTHS.get(word.strip().lower())
    if known is not None:
        return known
    try:
        return int(word)
    except ValueError:
        return float(word)
