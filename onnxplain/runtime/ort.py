"""The only module that imports ONNX Runtime."""

from __future__ import annotations

import functools
import re
from typing import Any

from onnxplain.errors import ProviderError

_DEBRIS = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "  # the kind of error
    r"|^Error in execution: "
    r"|(?<!\S)\S+\.(cc|cpp|cu|h):\d+ .*?\) "  # a line and a function of its source
)
"""Parts of ONNX Runtime's messages that are not useful to users."""


@functools.cache
def onnxruntime() -> Any:
    """The installed module onnxruntime, from any of the packages that provide it.

    Raises:
        ProviderError: none is installed, or it cannot be loaded.
    """
    try:
        import onnxruntime as ort
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise ProviderError(
            "ONNX Runtime is not installed: run `pip install 'onnxplain[cpu]'`, or "
            "`pip install 'onnxplain[gpu]'` on a machine with an NVIDIA GPU."
        ) from None
    except ImportError as error:
        raise ProviderError(f"ONNX Runtime is installed but cannot be loaded: {error}.") from error
    return ort


def reason_of(error: Exception) -> str:
    """The message of ONNX Runtime, without the parts that are not useful, and without an end."""
    text = _DEBRIS.sub("", " ".join(str(error).split())) or type(error).__name__
    return text.strip().rstrip(".")
