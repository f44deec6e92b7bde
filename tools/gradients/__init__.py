"""Checks of the gradients: on ONNX's own test cases, on exports, on shipped models.

Nothing here is installed with the package.
"""
