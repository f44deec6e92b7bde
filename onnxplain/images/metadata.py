"""Preprocessing settings in a model's own metadata."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxplain.errors import PreprocessError
from onnxplain.images.geometry import InputSize


@dataclass(frozen=True)
class Found:
    """Settings from one source, as written there, and the words that name the source."""

    settings: Mapping[str, Any]
    origin: str


def read_metadata(metadata: Mapping[str, str], declared: InputSize | None) -> Found | None:
    """Read Ultralytics' metadata, that of PaddleOCR, or the image keys of the ONNX specification.

    `declared` is the size that the model's input declares. None if there is none of them. Raises
    PreprocessError for values that cannot be used.
    """
    return (
        _read_ultralytics(metadata)
        or _read_paddle(metadata, declared)
        or _read_image_keys(metadata)
    )


def is_ultralytics(metadata: Mapping[str, str]) -> bool:
    """Whether Ultralytics exported the model: it always writes names and a stride."""
    return {"names", "stride"} <= metadata.keys()


def read_literal(metadata: Mapping[str, str], key: str) -> object:
    """Evaluate a value written with Python's `str`, such as Ultralytics' lists and dicts.

    Raises PreprocessError if it is not a Python literal.
    """
    try:
        value: object = ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise PreprocessError(
            f"The model's metadata has a {key!r} that cannot be read: {metadata[key][:60]!r}."
        ) from None
    return value


# Ultralytics resizes with OpenCV to detect, segment, pose..., and with torchvision to classify.
_LETTERBOX: Final = {"fit": "letterbox", "interpolation": "bilinear", "pad": 114}
_CLASSIFY: Final = {"fit": "crop", "interpolation": "antialias-bilinear"}


def _read_ultralytics(metadata: Mapping[str, str]) -> Found | None:
    if not is_ultralytics(metadata):
        return None
    task = metadata.get("task", "detect")
    framing = _CLASSIFY if task == "classify" else _LETTERBOX
    size = {"size": read_literal(metadata, "imgsz")} if "imgsz" in metadata else {}
    return Found(
        {**framing, **size, "scale": 1 / 255}, f"model metadata (Ultralytics, task {task})"
    )


def written_characters(metadata: Mapping[str, str]) -> list[str] | None:
    """The characters of one of PaddleOCR's recognizers, as RapidOCR writes them, one a line."""
    written = metadata.get("character")
    return None if written is None else written.removesuffix("\n").split("\n")


# As in PaddleOCR's RecResizeImg, whose pictures are read with OpenCV: blue, green, red. It fills a
# fixed width with the middle gray.
_PADDLE_VALUES: Final = {"channels": "BGR", "scale": 1 / 255, "mean": 0.5, "std": 0.5}
_PADDLE_FRAMING: Final[Mapping[bool, Mapping[str, object]]] = {
    True: {"fit": "stretch"},
    False: {"fit": "letterbox", "pad": 127.5},
}
_PADDLE_SIZE: Final = (48, None)


def _read_paddle(metadata: Mapping[str, str], declared: InputSize | None) -> Found | None:
    if "character" not in metadata:
        return None
    size = declared or _PADDLE_SIZE
    settings = {"size": size, **_PADDLE_FRAMING[size[1] is None], **_PADDLE_VALUES}
    return Found(settings, "model metadata (a text recognizer of PaddleOCR)")


# Keys and values of the specification are case insensitive.
_PIXEL_FORMATS: Final = {"gray8": "GRAY", "rgb8": "RGB", "bgr8": "BGR"}
_PIXEL_RANGES: Final[Mapping[str, Mapping[str, float]]] = {
    "nominalrange_0_255": {},
    "normalized_0_1": {"scale": 1 / 255},
    "normalized_1_1": {"scale": 1 / 255, "mean": 0.5, "std": 0.5},
    "nominalrange_16_235": {"scale": 219 / 255, "mean": -16},
}


def _read_image_keys(metadata: Mapping[str, str]) -> Found | None:
    keys = {key.lower(): value.lower() for key, value in metadata.items()}
    pixel_format = keys.get("image.bitmappixelformat")
    pixel_range = keys.get("image.nominalpixelrange")
    if pixel_format is None and pixel_range is None:
        return None
    for key, known in (
        ("image.bitmappixelformat", _PIXEL_FORMATS),
        ("image.nominalpixelrange", _PIXEL_RANGES),
        ("image.colorspacegamma", ("srgb",)),
    ):
        if key in keys and keys[key] not in known:
            raise PreprocessError(
                f"The model's metadata asks for {keys[key]!r} as {key}, which is not supported: "
                "describe the preprocessing in a sidecar file, which is used instead."
            )
    channels = {"channels": _PIXEL_FORMATS[pixel_format]} if pixel_format else {}
    framing = {"fit": "crop", "interpolation": "antialias-bilinear"}
    values = _PIXEL_RANGES[pixel_range or "nominalrange_0_255"]
    return Found({**framing, **channels, **values}, "model metadata (Image keys)")
