"""Reverse-mode differentiation of ONNX models; the gradients are nodes of standard ONNX."""
