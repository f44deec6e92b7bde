"""Models with a sample each, for tests and tables alike.

nets          tiny ONNX models whose answers are worked out by hand
onnx_calls    callables made from an ONNX model with onnx and onnxruntime alone
models        a model and a sample of it, for `Explainer` and for references
"""
