"""Reverse-mode differentiation, from ONNX to standard ONNX."""
