"""What the names of an explanation's files begin with."""

from __future__ import annotations

from onnxplain.results.data import ExplanationData
from onnxplain.results.names import METHOD_BYTES, PICTURE_BYTES, TARGET_BYTES, safe_name


def file_stem(explanation: ExplanationData, picture_name: str | None = None) -> str:
    """Return `<picture>.<method>.<target>`, what the names of all its files begin with."""
    path = explanation.picture_path
    picture = picture_name or (path.stem if path else "picture")
    return ".".join(
        [
            safe_name(picture, PICTURE_BYTES),
            safe_name(explanation.method, METHOD_BYTES),
            safe_name(explanation.target.name, TARGET_BYTES),
        ]
    )
