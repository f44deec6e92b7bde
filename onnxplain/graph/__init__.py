"""ONNX in, ONNX out: loading, reading and rewriting a model's graph. Nothing here runs a model."""
