"""The first part of the names of an explanation's files."""

from __future__ import annotations

from onnxplain.file_names import safe_name
from onnxplain.results.data import MapData

_METHOD_BYTES = 40
"""Most bytes of a method's name in a file name, so that the whole file name is below 255 bytes."""


def file_stem(explanation: MapData, picture_name: str | None = None) -> str:
    """Return the first part of the names of all its files.

    It is `<picture>.<method>.<target>`, or `<picture>.<method>.<output>.<target>` if the output was
    named.
    """
    picture = picture_name or explanation.stem
    return ".".join(
        [
            safe_name(picture),
            safe_name(explanation.method, _METHOD_BYTES),
            explanation.target.file_name,
        ]
    )
