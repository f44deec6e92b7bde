"""A model and a method as one ONNX file that predicts and explains."""
