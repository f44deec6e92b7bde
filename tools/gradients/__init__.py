"""Proofs that the gradients are right: on ONNX's own test cases, on exports, on shipped models.

Nothing here is installed.
"""
