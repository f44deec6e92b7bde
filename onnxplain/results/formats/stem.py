"""What the names of an explanation's files begin with."""

from __future__ import annotations

from onnxplain.file_names import safe_name
from onnxplain.results.data import ExplanationData
from onnxplain.targets.described import LONGEST_TARGET

_METHOD_BYTES = 40
"""With those of the picture and the target, the dots and the longest ending, below 255."""


def file_stem(explanation: ExplanationData, picture_name: str | None = None) -> str:
    """Return `<picture>.<method>.<target>`, what the names of all its files begin with."""
    path = explanation.picture_path
    picture = picture_name or (path.stem if path else "picture")
    return ".".join(
        [
            safe_name(picture),
            safe_name(explanation.method, _METHOD_BYTES),
            safe_name(explanation.target.name, LONGEST_TARGET),
        ]
    )
