"""A transformer in int8, and as ONNX Runtime saves it, against float64 numpy on its weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from references.chefer import generic_attention, transformer_attribution
from references.eclip import grad_eclip
from references.vit import BLOCKS, GRID, PICTURE, ViT, legrad, rollout
from tiny import noise, run

from onnxplain import Explainer
from onnxplain.analysis.transformer import find_transformer
from onnxplain.autodiff.lowering import lower
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from onnxplain.model.shapes import infer_shapes
from onnxplain.transforms.extract import with_outputs

NET = ViT()
TARGET = 2
WEIGHTS = QuantType.QUInt8
"""Unsigned: without VNNI, ONNX Runtime's products of unsigned and signed bytes saturate, unless
the signed ones have 7 bits."""

INNER = slice(1, None)  # the class token is not part of the picture


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """The pictures on which the ranges are measured."""

    def __init__(self) -> None:
        drawn = [PICTURE, *(noise(*PICTURE.shape, seed=seed) for seed in range(20, 28))]
        self._feeds = iter([{"x": picture} for picture in drawn])

    def get_next(self) -> Any:
        return next(self._feeds, None)


def static(
    form: str, *, per_channel: bool = False, signed: bool = False
) -> Callable[[Path, Path], None]:
    def write(source: Path, path: Path) -> None:
        quantize_static(
            source,
            path,
            Pictures(),
            quant_format=QuantFormat[form],
            per_channel=per_channel,
            weight_type=QuantType.QInt8 if signed else WEIGHTS,
            activation_type=QuantType.QUInt8,
            reduce_range=signed,
        )

    return write


def dynamic(source: Path, path: Path) -> None:
    # The quantizer cannot infer types after a fused operator.
    extra = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(source, path, weight_type=WEIGHTS, extra_options=extra)


def optimized(source: Path, path: Path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


PLAIN, FUSED, PACKED = {}, {"fused": True}, {"packed": True}

# name: (the original attention, the conversion, an operator that must be there, allowed difference)
FORMS: dict[str, tuple[dict[str, bool], list[Callable[[Path, Path], None]], str, float]] = {
    "QDQ": (PLAIN, [static("QDQ")], "DequantizeLinear", 0.06),
    "QDQ by channel": (PLAIN, [static("QDQ", per_channel=True)], "DequantizeLinear", 0.06),
    "QOperator": (PLAIN, [static("QOperator")], "QLinearSoftmax", 0.06),
    "QOperator by channel": (
        PLAIN,
        [static("QOperator", per_channel=True, signed=True)],
        "QLinearMatMul",
        0.06,
    ),
    "dynamic": (PLAIN, [dynamic], "MatMulInteger", 0.03),
    "around a fused operator": (FUSED, [static("QDQ")], "MultiHeadAttention", 0.06),
    "a quantized fused operator": (PACKED, [dynamic], "QAttention", 0.03),
    "QDQ, optimized": (PLAIN, [static("QDQ"), optimized], "QLinearAdd", 0.06),
    "float, optimized": (PLAIN, [optimized], "SkipLayerNormalization", 1e-4),
}


@functools.cache
def matrices() -> list[Any]:
    return [NET.attention(z, block) for block, z in enumerate(NET.states(PICTURE)[:-1])]


EXPECTED: dict[str, Callable[[], Any]] = {
    "attention_rollout": lambda: rollout(matrices())[0][INNER],
    "legrad": functools.cache(lambda: legrad(NET, PICTURE, TARGET)[INNER]),
    "generic_attention": functools.cache(lambda: generic_attention(NET, PICTURE, TARGET)[INNER]),
    "grad_eclip": functools.cache(lambda: grad_eclip(NET, PICTURE, lambda y: y[TARGET])),
}
"""The numbers of the patches, from the float weights, by method."""

ROUNDED_TWICE = {"generic_attention": 2.5, "grad_eclip": 2}
"""How much more a map may differ that multiplies the gradient and another tensor of a block."""


@functools.cache
def model(name: str, folder: Path) -> onnx.ModelProto:
    kind, steps, expected, _ = FORMS[name]
    path = folder / "model.onnx"
    onnx.save(NET.onnx(**kind), path)
    for count, step in enumerate(steps):
        step(path, folder / f"{count}.onnx")
        path = folder / f"{count}.onnx"
    proto = onnx.load(path)
    assert expected in {node.op_type for node in proto.graph.node}
    return proto


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return functools.cache(lambda name: tmp_path_factory.mktemp("form"))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("method", EXPECTED)
def test_the_map_is_that_of_the_float_weights(
    name: str, method: str, folder: Callable[[str], Path]
) -> None:
    explainer = Explainer(model(name, folder(name)), preprocess={"layout": "NCHW"}, provider="cpu")
    found = explainer.attribute(PICTURE, method, TARGET).values[0]
    expected = EXPECTED[method]().reshape(GRID)
    assert np.ptp(expected) > 0.3 * expected.max()
    limit = FORMS[name][-1] * ROUNDED_TWICE.get(method, 1)
    assert_allclose(found, expected, atol=limit * expected.max())
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.985


@pytest.mark.parametrize("name", FORMS)
def test_relevance_of_rounded_activations_is_refused(
    name: str, folder: Callable[[str], Path]
) -> None:
    explainer = Explainer(model(name, folder(name)), preprocess={"layout": "NCHW"}, provider="cpu")
    if name != "float, optimized":
        with pytest.raises(GradientError, match=r"rounds activations.*use generic_attention"):
            explainer.attribute(PICTURE, "transformer_attribution", TARGET)
        return
    found = explainer.attribute(PICTURE, "transformer_attribution", TARGET).values[0]
    expected = transformer_attribution(NET, PICTURE, TARGET)[INNER].reshape(GRID)
    assert_allclose(found, expected, atol=2e-4 * expected.max())


@pytest.mark.parametrize("name", FORMS)
def test_what_is_read_as_attention_is_shares_of_one(
    name: str, folder: Callable[[str], Path]
) -> None:
    """The reals that integers represent; each rounding may change a share by up to 1/255."""
    ready = lower(load(model(name, folder(name))))
    shapes = infer_shapes(ready.proto, {"x": PICTURE.shape})
    found = find_transformer(ready, shapes, "x", "y")
    assert (len(found.attention), found.read, found.layout.prefix) == (BLOCKS, (0,), 1)
    values = run(with_outputs(ready, found.attention).proto, {"x": PICTURE})
    for value, expected in zip(values, matrices(), strict=True):
        assert_allclose(value.sum(axis=-1), 1, atol=NET.tokens / 2 / 255 + 1e-6)
        assert_allclose(value[0], expected, atol=0.06)


@pytest.mark.parametrize("name", FORMS)
def test_auto_is_what_the_last_attention_reads(name: str, folder: Callable[[str], Path]) -> None:
    """After it only the class token is read, and a map of the other tokens would be constant."""
    explainer = Explainer(model(name, folder(name)), preprocess={"layout": "NCHW"}, provider="cpu")
    layer = explainer.layer("auto", PICTURE)
    assert layer.tensor.split("_")[0] == f"n{BLOCKS - 1}"
