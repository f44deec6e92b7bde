"""The only module that imports ONNX Runtime."""

from __future__ import annotations

import functools
from typing import Any

from onnxplain.errors import ProviderError


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
