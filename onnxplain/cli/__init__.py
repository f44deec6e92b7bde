"""The command line: `onnxplain run`, `inspect` and `methods`.

Importing it loads neither numpy nor ONNX, so that help and usage errors come at once: whatever a
command needs is imported when the command runs.
"""

from onnxplain.cli.app import main

__all__ = ["main"]
