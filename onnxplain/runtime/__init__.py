"""ONNX Runtime: providers, sessions, batches. Nothing here changes a graph."""
