"""The files next to a model that say how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onnxplain.errors import PreprocessError
from onnxplain.regular_files import leads_out, read_regular

JsonObject = dict[str, object]

_LARGEST = 2**25
"""Most bytes of a text file: names of 21,841 classes in JSON have about 1 MB."""


@dataclass(frozen=True)
class Config:
    """A JSON object, the file that it was read from, and the name of that file in messages."""

    path: Path
    title: str
    content: JsonObject


def read_sidecar(model_path: Path | None) -> Config | None:
    """Read `<model stem>.onnxplain.json` next to the model; None if there is none.

    Its keys "preprocess" (an object), "labels" (a list, an object or the path of a file), "boxes"
    (the name of a layout of boxes) and "blank" (the blank of a text recognizer) are used. Other
    keys are notes for people. Raises PreprocessError if it holds no JSON object.
    """
    if model_path is None:
        return None
    path = sidecar_path(model_path)
    return _config(path, f"sidecar {path.name}", model_path) if path.is_file() else None


def sidecar_path(model_path: Path) -> Path:
    """The path of a model's sidecar file, in the model's folder."""
    return model_path.with_name(f"{model_path.stem}.onnxplain.json")


def find_configs(model_path: Path | None, name: str) -> Iterator[Config]:
    """Read files called `name` in the model's folder, then in the folder above it.

    Exporters write the model to a folder `onnx/`, and its configuration to the folder above that.
    """
    folders = () if model_path is None else model_path.absolute().parents[:2]
    for folder, words in zip(folders, _FOLDERS, strict=False):
        path = folder / name
        if model_path is not None and path.is_file():
            yield _config(path, f"{name} {words}", model_path)


_FOLDERS = "next to the model", "in the folder above the model"


def _config(path: Path, title: str, model_path: Path) -> Config:
    """Read a file that lies near a model. It must not be able to read other files of the machine.

    Raises PreprocessError if it is a link that leads out of its folder, or holds no JSON object.
    """
    if leads_out(path, model_path):
        raise PreprocessError(
            f"{path} is a link to a file outside its folder: put the file itself next to the model."
        )
    return Config(path, title, read_object(path))


def read_object(path: Path) -> JsonObject:
    """Read a file that holds a JSON object; PreprocessError if it does not."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise PreprocessError(f"{path} must hold a JSON object, not a {type(content).__name__}.")
    return content


def read_json(path: Path, largest: int = _LARGEST) -> object:
    """Read a JSON file of at most `largest` bytes.

    Raises PreprocessError, which names the file, and the line where it is wrong.
    """
    text = read_text(path, largest)
    try:
        content: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise PreprocessError(f"{path} is not valid JSON: {error}.") from error
    except RecursionError:
        raise PreprocessError(f"{path} holds lists or objects that are nested too deep.") from None
    except ValueError:  # the only other one: Python reads no numbers of so many digits
        raise PreprocessError(f"{path} holds a number with too many digits.") from None
    if _SURROGATE.search(text):
        _require_whole_characters(path, content)
    return content


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _require_whole_characters(path: Path, content: object) -> None:
    """Raise PreprocessError for an escape of half a character: such a text cannot be written."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("unicode_escape").decode()
        raise PreprocessError(
            f"{path} holds {half}, which is only half of a character: write both halves."
        ) from None


def read_text(path: Path, largest: int = _LARGEST) -> str:
    """Read a UTF-8 text file of at most `largest` bytes; PreprocessError names the file."""
    try:
        return read_regular(path, largest).decode("utf-8-sig")
    except FileNotFoundError:
        raise PreprocessError(f"{path} does not exist.") from None
    except OSError as error:
        raise PreprocessError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise PreprocessError(f"{path} is not a UTF-8 text file.") from error
