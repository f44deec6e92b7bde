"""The names of a model's classes."""

from __future__ import annotations

import difflib
import functools
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnxplain.errors import PreprocessError, TargetError
from onnxplain.images.files import find_configs, read_json, read_sidecar, read_text
from onnxplain.images.metadata import read_literal, written_characters
from onnxplain.regular_files import is_inside

_SHOWN: Final = 10


@dataclass(frozen=True)
class Labels:
    """Class names by index. Not every index needs a name, and names may repeat.

    `origin` is the source of the names, in words. `in_order` says that they were given as a list,
    in the order of the classes. Raises PreprocessError for half a character in a name.
    """

    names: Mapping[int, str]
    origin: str
    in_order: bool = False

    def __post_init__(self) -> None:
        try:
            "".join(self.names.values()).encode()
        except UnicodeEncodeError:
            raise PreprocessError(
                f"The labels ({self.origin}) hold only half of a character, which cannot be "
                "written: write both halves."
            ) from None

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def last(self) -> int:
        """The highest index that has a name."""
        return max(self.names)

    def name(self, index: int) -> str | None:
        """The name of a class; None where it has none."""
        return self.names.get(index)

    def named(self, text: str) -> int | None:
        """The class with exactly this name; None if there is none, or several."""
        found = [index for index, name in self.names.items() if name == text]
        return found[0] if len(found) == 1 else None

    def holds(self, text: str) -> bool:
        """Whether `text` is a name or one of its synonyms, and not only a part of one."""
        wanted = _plain(text)
        return any(fits(wanted, _plain(name)) for name in self.names.values() for fits in _WHOLE)

    def find(self, text: str) -> int:
        """The class that `text` means: an index, a name, one of its synonyms or a part of it.

        A name may hold several synonyms, separated by commas. Case does not matter, nor the
        difference between underscore and space. A whole name is preferred to a synonym, and a
        synonym to a part of a name. The caller must check that the model has a class of that index.

        Raises TargetError if the text fits several classes, with a list of them, or no class, with
        similar names.
        """
        wanted = _plain(text)
        plain = {index: _plain(name) for index, name in self.names.items()}
        for fits in _MATCHES:
            matches = {index for index, name in plain.items() if wanted and fits(wanted, name)}
            if fits is operator.eq and wanted.isdecimal():
                matches.add(int(wanted))
            if len(matches) == 1:
                return matches.pop()
            if matches:
                raise self._ambiguous(text, sorted(matches))
        raise self._unknown(text, wanted, plain)

    def _ambiguous(self, text: str, matches: list[int]) -> TargetError:
        shown = ", ".join(f"{index} ({self.name(index)})" for index in matches[:_SHOWN])
        more = f" and {len(matches) - _SHOWN} more" if len(matches) > _SHOWN else ""
        return TargetError(
            f"{text!r} fits {len(matches)} classes: {shown}{more}; give one of these indices."
        )

    def _unknown(self, text: str, wanted: str, plain: Mapping[int, str]) -> TargetError:
        words = {index: {name, *name.split(", ")} for index, name in plain.items()}
        close = set(difflib.get_close_matches(wanted, set().union(*words.values()), n=5))
        alike = [f"{index} ({self.name(index)})" for index in words if words[index] & close]
        hint = f"close are {', '.join(alike[:_SHOWN])}" if alike else "give its index"
        return TargetError(f"No class is called {text!r} in the labels ({self.origin}): {hint}.")


def find_labels(
    model_path: Path | None,
    metadata: Mapping[str, str],
    override: Path | Sequence[str] | None = None,
) -> Labels | None:
    """Find class names: `override`, sidecar, model metadata, else `config.json` near the model.

    `override` is a list of names or a file: text with one name per line, or JSON with a list, an
    object of names by index, or a Hugging Face configuration. None if there are no names.

    Raises PreprocessError for labels that cannot be read.
    """
    if override is not None:
        if isinstance(override, str | Path):
            return _read_file(Path(override))
        if not override:
            raise PreprocessError("The list of labels is empty: name the classes in order.")
        return Labels(dict(enumerate(override)), "given", in_order=True)
    return next(_candidates(model_path, metadata), None)


def _candidates(model_path: Path | None, metadata: Mapping[str, str]) -> Iterator[Labels]:
    sidecar = read_sidecar(model_path)
    if sidecar is not None and "labels" in sidecar.content:
        labels = sidecar.content["labels"]
        if isinstance(labels, str):
            yield _read_file(_beside(sidecar.path, labels))
        else:
            yield _from_content(labels, sidecar.title)
    if "names" in metadata and metadata.keys() & _WITH_NAMES:
        yield _from_content(read_literal(metadata, "names"), "model metadata")
    characters = written_characters(metadata)
    if characters is not None:
        yield _from_content(characters, "model metadata")
    for config in find_configs(model_path, "config.json"):
        if config.content.keys() & _CONFIG_KEYS:
            yield _from_content(config.content, config.title)


def _beside(sidecar: Path, name: str) -> Path:
    """The file of labels that a sidecar names.

    Raises:
        PreprocessError: it is outside the folder of the sidecar. A sidecar that comes with a model
            must not be able to read other files of the machine.
    """
    path = sidecar.parent / name
    if not is_inside(path, sidecar):
        raise PreprocessError(
            f"The sidecar {sidecar.name} names the labels {name!r}, outside its folder: put them "
            "next to the model, or name them with --labels."
        )
    return path


_WITH_NAMES: Final = {"task", "stride"}
"""Keys of Ultralytics and of exporters that write the classes' names in the same form."""


def _read_file(path: Path) -> Labels:
    if path.suffix.lower() == ".json":
        return _from_content(read_json(path), path.name)
    text = read_text(path).rstrip("\r\n")
    return _from_content(text.split("\n") if text else [], path.name)


_CONFIG_KEYS: Final = ("id2label", "label_names")


def _from_content(content: object, origin: str) -> Labels:
    """Labels from a list, an object of names by index, or a configuration that holds either."""
    if isinstance(content, dict) and "id2label" in content:  # Hugging Face transformers
        return _from_content(content["id2label"], origin)
    if isinstance(content, dict) and "label_names" in content:  # timm: codes, with descriptions
        return _from_content(_described(content), origin)
    try:
        pairs = enumerate(content) if isinstance(content, list) else dict(content).items()  # type: ignore[call-overload]
        names = {int(index): _name(value) for index, value in pairs}
    except (TypeError, ValueError, OverflowError):
        names = {}
    if not names:
        raise PreprocessError(
            f"The labels from {origin} are neither a list of names nor names by index."
        )
    return Labels(names, origin, in_order=isinstance(content, list))


def _described(content: Mapping[str, object]) -> object:
    """The descriptions of timm's codes of classes; a code itself where it has none."""
    codes, words = content["label_names"], content.get("label_descriptions")
    if not isinstance(codes, list) or not isinstance(words, dict):
        return codes
    return [words.get(code, code) if isinstance(code, str) else code for code in codes]


def _name(value: object) -> str:
    """A name, or the last item of a list such as Keras' [WordNet code, name]."""
    name = value[-1] if isinstance(value, list) and value else value
    if not isinstance(name, str):
        raise TypeError
    return name.strip() or name.strip("\r\n")  # a space is a character of a text recognizer


def _plain(text: str) -> str:
    return re.sub(r"[\s_]+", " ", text).strip().casefold()


_Match = Callable[[str, str], bool]

_WHOLE: Final[tuple[_Match, ...]] = (
    operator.eq,
    lambda wanted, name: wanted in name.split(", "),
)

_MATCHES: Final[tuple[_Match, ...]] = (*_WHOLE, lambda wanted, name: wanted in name)
"""Kinds of match, best first: the name itself, one of its synonyms, a part of it."""
