"""What a shell completes: values of arguments and options, from the registries."""

from __future__ import annotations


def method_names(incomplete: str) -> list[str]:
    """Names of methods that begin with what was typed."""
    from onnxplain.methods.registry import METHODS  # which loads numpy and ONNX

    return [name for name in METHODS if name.startswith(incomplete)]
