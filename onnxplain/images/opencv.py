"""OpenCV, loaded when it is first used, so that commands that draw nothing start faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxplain.errors import PictureError, limit_reached

if TYPE_CHECKING:
    import cv2
else:

    class _OpenCV:
        """Replaces the module; raises PictureError if OpenCV cannot be loaded."""

        def __getattr__(self, name: str) -> Any:
            try:
                import cv2
            except ImportError as error:
                if limit_reached(error):
                    raise
                reason = str(error).strip().partition("\n")[0]
                raise PictureError(
                    f"OpenCV cannot be loaded ({reason}): install the build that needs no "
                    "display, pip install opencv-python-headless."
                ) from error
            return getattr(cv2, name)

    cv2 = _OpenCV()

__all__ = ["cv2"]
