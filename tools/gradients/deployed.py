"""The shipped models in the forms in which models are deployed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

from onnxplain.tensors import Array

Pictures = Mapping[str, Sequence[Array]]
"""Samples for calibration, by the name of the input."""


def original(model: Path, to: Path, _: Pictures) -> None:
    """The shipped file, unchanged."""
    to.write_bytes(model.read_bytes())


def half(model: Path, to: Path, _: Pictures) -> None:
    """Everything in float16."""
    onnx.save(convert_float_to_float16(onnx.load(model)), to)


@dataclass(frozen=True)
class Optimized:
    """Saved by ONNX Runtime after its optimizations up to a level."""

    level: str

    def __call__(self, model: Path, to: Path, _: Pictures) -> None:
        """Write it."""
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, self.level)
        options.optimized_model_filepath = str(to)
        ort.InferenceSession(model, options, ["CPUExecutionProvider"])


@dataclass(frozen=True)
class Quantized:
    """Quantized by ONNX Runtime, calibrated with the least and largest values of the pictures."""

    form: QuantFormat
    weights: QuantType = QuantType.QInt8
    activations: QuantType = QuantType.QUInt8
    per_channel: bool = True

    def __call__(self, model: Path, to: Path, pictures: Pictures) -> None:
        """Write it."""
        quantize_static(
            model,
            to,
            _Reader(pictures),
            quant_format=self.form,
            per_channel=self.per_channel,
            weight_type=self.weights,
            activation_type=self.activations,
        )


def weights_in_int8(model: Path, to: Path, _: Pictures) -> None:
    """With one scale for all channels; activations are quantized at run time."""
    quantize_dynamic(model, to)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Pictures one by one."""

    def __init__(self, pictures: Pictures) -> None:
        self._feeds = iter([{k: x} for k, xs in pictures.items() for x in xs])

    def get_next(self) -> dict[str, Any] | None:
        """The next one."""
        return next(self._feeds, None)


FORMS: Mapping[str, Callable[[Path, Path, Pictures], None]] = {
    "float32": original,
    "float16": half,
    "saved at the basic level": Optimized("ORT_ENABLE_BASIC"),
    "saved at the extended level": Optimized("ORT_ENABLE_EXTENDED"),
    "QDQ int8": Quantized(QuantFormat.QDQ),
    "QOperator int8": Quantized(QuantFormat.QOperator),
    "QDQ int8, one scale for all channels": Quantized(QuantFormat.QDQ, per_channel=False),
    "weights in int8 (dynamic)": weights_in_int8,
    "QDQ int8, activations in 16 bits": Quantized(QuantFormat.QDQ, activations=QuantType.QUInt16),
    "QDQ, all in 16 bits": Quantized(QuantFormat.QDQ, QuantType.QInt16, QuantType.QUInt16),
}
