"""The command line; `app` lists the commands, each the module of its name.

Importing it loads neither numpy nor ONNX, so that its help comes at once: the module of a command
is imported when that command is asked for.
"""

from onnxplain.cli.app import main

__all__ = ["main"]
