"""Models with a sample each, for tests and tables.

nets          tiny ONNX models whose expected maps are computed by hand
onnx_calls    callables made from an ONNX model, only with onnx and onnxruntime
models        a model and a sample of it, for `Explainer` and for references
"""
