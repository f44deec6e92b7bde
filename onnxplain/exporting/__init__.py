"""A model and a method as one ONNX file that predicts and explains."""

from onnxplain.exporting.export import export

__all__ = ["export"]
