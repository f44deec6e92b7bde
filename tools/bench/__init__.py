"""Benchmarks: ratios measured in one run, against plain ONNX Runtime forwards."""
