"""The one place where OpenCV is imported, so that a broken installation gives one sentence."""

from __future__ import annotations

from onnxplain.errors import PictureError

try:
    import cv2
except ImportError as error:
    reason = str(error).strip().partition("\n")[0]
    raise PictureError(
        f"OpenCV cannot be loaded ({reason}): "
        "install the build that needs no display, pip install opencv-python-headless."
    ) from error

__all__ = ["cv2"]
