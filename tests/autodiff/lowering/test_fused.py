"""Operators of ONNX Runtime compared with the standard ones that replace them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, load_model, parser
from scipy.special import erf

from onnxplain.autodiff.lowering.attention import undo_attention
from onnxplain.autodiff.lowering.fused import decompose_fused
from onnxplain.errors import GradientError
from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.tensors import Array
from tools.gradcheck import normal, uniform
from tools.gradcheck.agreement import agreeing, operators
from tools.gradcheck.reference import onnxruntime_function

MODELS = Path(__file__).parents[3] / "models"

TYPES = {"float32": "float", "int32": "int32"}

FEEDS = {
    "picture": normal(2, 4, 5, 6),
    "rows": normal(2, 3, 8, seed=1),
    "skip": normal(2, 3, 8, seed=2),
    "stack": normal(2, 3, 5, 4, seed=3),
    "other": normal(2, 3, 6, 4, seed=4),
    "third": normal(3, 5, 2, 3, seed=19),
    "flat": normal(3, 4, seed=5),
    "w": normal(6, 2, 3, 3, seed=6),
    "up": normal(4, 3, 2, 2, seed=7),
    "b": normal(6, seed=8),
    "z": normal(2, 6, 5, 6, seed=9),
    "features": normal(8, seed=10),
    "gain": uniform(8, seed=11),
    "square": normal(4, 4, seed=12),
    "mask": np.array([[1, 1, 0], [1, 1, 1]], np.int32),
    "pairs": np.array([[[1, 0, 0], [1, 1, 0], [1, 1, 1]]] * 2, np.int32),
    "qkv": normal(8, 24, seed=13),
    "narrow": normal(8, 20, seed=14),
    "qkv_bias": normal(24, seed=15),
    "plane": normal(3, 8, seed=17),
    "point": normal(3, 1, 1, 6, seed=18),
    "lengths": np.array([3, 2], np.int32),
    "ends_and_starts": np.array([3, 2, 0, 1], np.int32),
    "added": normal(1, 2, 3, 3, seed=16),
}

CONV = "pads=[1,1,1,1], group=2"
CALLS = {
    "FusedConv": f'FusedConv<{CONV}, activation="Relu">(picture, w, b)',
    "FusedConv, Clip": f'FusedConv<{CONV}, activation="Clip", activation_params=[-0.5, 2.0]>'
    "(picture, w)",
    "FusedConv, LeakyRelu": f'FusedConv<{CONV}, activation="LeakyRelu", activation_params=[0.2]>'
    "(picture, w, b)",
    "FusedConv, HardSigmoid": f'FusedConv<{CONV}, activation="HardSigmoid", '
    "activation_params=[0.3, 0.6]>(picture, w, b)",
    "FusedConv, with a sum": f'FusedConv<{CONV}, activation="Relu">(picture, w, b, z)',
    "ConvTransposeWithDynamicPads": "ConvTransposeWithDynamicPads<strides=[2,2]>"
    "(picture, up, pads)",
    "FusedGemm": 'FusedGemm<transB=1, alpha=0.5, activation="LeakyRelu", activation_alpha=0.3>'
    "(flat, square)",
    "FusedGemm, Relu": 'FusedGemm<activation="Relu">(flat, square)',
    "FusedMatMul": "FusedMatMul<alpha=0.25, transB=1>(stack, other)",
    "FusedMatMul, first transposed": "FusedMatMul<transA=1>(flat, flat)",
    "FusedMatMul, batch transposed": "FusedMatMul<transBatchA=1, transBatchB=1, transB=1>"
    "(stack, stack)",
    "FusedMatMul, one batch transposed": "FusedMatMul<transA=1, transBatchA=1>(stack, third)",
    "FusedMatMul, plain": "FusedMatMul(stack, square)",
    "Gelu": "Gelu(rows)",
    "BiasGelu": "BiasGelu(rows, features)",
    "FastGelu": "FastGelu(rows)",
    "FastGelu, with a bias": "FastGelu(rows, features)",
    "QuickGelu": "QuickGelu(rows)",
    "QuickGelu, alpha": "QuickGelu<alpha=1.0>(rows)",
    "SkipLayerNormalization": "SkipLayerNormalization<epsilon=0.01>"
    "(rows, skip, gain, features, features)",
    "SkipLayerNormalization, bare": "SkipLayerNormalization(rows, skip, gain)",
    "SkipSimplifiedLayerNormalization": "SkipSimplifiedLayerNormalization<epsilon=0.01>"
    "(rows, skip, gain, features)",
    "Attention": "Attention<num_heads=2>(rows, qkv, qkv_bias)",
    "Attention, scaled": "Attention<num_heads=2, scale=0.1>(rows, qkv, qkv_bias)",
    "Attention, narrow values": "Attention<num_heads=2, qkv_hidden_sizes=[8,8,4]>"
    "(rows, narrow, narrow_bias)",
    "Attention, mask of keys": "Attention<num_heads=2>(rows, qkv, qkv_bias, mask)",
    "Attention, lengths": "Attention<num_heads=2>(rows, qkv, qkv_bias, lengths)",
    "Attention, mask of pairs": "Attention<num_heads=4>(rows, qkv, qkv_bias, pairs)",
    "Attention, one-way": "Attention<num_heads=2, unidirectional=1>(rows, qkv, qkv_bias)",
    "Attention, added scores": "Attention<num_heads=2>(rows, qkv, qkv_bias, , , added)",
    "MultiHeadAttention": "MultiHeadAttention<num_heads=2>(rows, skip, rows)",
    "MultiHeadAttention, everything": "MultiHeadAttention<num_heads=2, mask_filter_value=-1.0>"
    "(rows, skip, rows, qkv_bias, mask, added)",
}
CONSTANTS = """<int64[4] pads = {0, 1, 1, 0},
    float[20] narrow_bias = {1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0}>"""


def model_of(
    call: str, opset: int = 18, outputs: str = "y", domain: str = "com.microsoft."
) -> ModelProto:
    """A model of one call, whose inputs are those of FEEDS that it reads."""
    arguments = re.findall(r"\w+", call[call.rindex("(") :])
    inputs = ", ".join(
        f"{TYPES[FEEDS[name].dtype.name]}[{','.join(map(str, FEEDS[name].shape))}] {name}"
        for name in dict.fromkeys(arguments)
        if name in FEEDS
    )
    declared = ", ".join(f"float {name}" for name in re.findall(r"\w+", outputs))
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1]>
        g ({inputs}) => ({declared}) {CONSTANTS} {{ {outputs} = {domain}{call} }}"""
    )
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def undone(model: Model) -> Model:
    return undo_attention(decompose_fused(model))


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_same_answers_in_standard_onnx(call: str, opset: int) -> None:
    model = model_of(call, opset)
    changed = agreeing(model, undone, FEEDS, rtol=1e-4, atol=1e-5)
    assert not any("::" in operator for operator in operators(changed))


@pytest.mark.parametrize(
    ("call", "outputs"),
    [
        ("SkipLayerNormalization(rows, skip, gain, features)", "y, , , sum"),
        ("SkipSimplifiedLayerNormalization(rows, skip, gain)", "y, , , sum"),
    ],
)
def test_second_outputs(call: str, outputs: str) -> None:
    changed = agreeing(model_of(call, outputs=outputs), undone, FEEDS, rtol=1e-4, atol=1e-5)
    assert not any("::" in operator for operator in operators(changed))


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_simplified_layer_normalization_in_the_default_domain(axis: int) -> None:
    scale = {-1: "features", 1: "plane", 2: "features"}[axis]
    model = model_of(f"SimplifiedLayerNormalization<axis={axis}>(rows, {scale})", domain="")
    changed = agreeing(model, undone, FEEDS, rtol=1e-4, atol=1e-5)
    assert "SimplifiedLayerNormalization" not in operators(changed)


def gelu(x: Array) -> Array:
    return np.asarray(x * (1 + erf(x / np.sqrt(2))) / 2)


def softmax(x: Array) -> Array:
    y = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(y / y.sum(-1, keepdims=True))


# Operators that ONNX Runtime has only on GPUs, by their definitions.
FORMULAS: dict[str, tuple[str, Callable[..., Array]]] = {
    "BiasSplitGelu": (
        "BiasSplitGelu(rows, features)",
        lambda x, b: (x + b)[..., :4] * gelu((x + b)[..., 4:]),
    ),
    "BiasAdd": ("BiasAdd(rows, features, skip)", lambda x, b, s: x + b + s),
    "BiasSoftmax": (
        "BiasSoftmax<axis=2, is_inner_broadcast=0>(rows, skip)",
        lambda x, b: softmax(x + b),
    ),
    "NhwcConv": (
        "NhwcConv(picture, point)",
        lambda x, w: np.einsum("nhwc,ocab->nhwo", x, w.transpose(0, 3, 1, 2)),
    ),
}


@pytest.mark.parametrize("case", FORMULAS.values(), ids=FORMULAS)
def test_operators_without_a_cpu_kernel(case: tuple[str, Callable[..., Array]]) -> None:
    call, formula = case
    changed = undone(load(model_of(call)))
    arguments = re.findall(r"\w+", call[call.rindex("(") :])
    (y,) = onnxruntime_function(changed.proto)(FEEDS)
    expected = formula(*(FEEDS[name].astype(np.float64) for name in arguments))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1_1"])
def test_shipped_model_saved_by_onnx_runtime(name: str, tmp_path: Path) -> None:
    saved = optimized(MODELS / f"{name}.onnx", "ORT_ENABLE_EXTENDED", tmp_path)
    feeds = {load(saved).inputs[0].name: normal(1, 3, 224, 224)}
    assert "com.microsoft::FusedConv" in operators(load(saved))
    changed = agreeing(load_model(saved), undone, feeds, rtol=1e-3, atol=1e-4)
    assert set(operators(changed)) <= set(operators(load(MODELS / f"{name}.onnx")))


def test_layout_of_one_processor_is_refused(tmp_path: Path) -> None:
    saved = optimized(MODELS / "squeezenet1_1.onnx", "ORT_ENABLE_ALL", tmp_path)
    if not any("nchwc" in operator for operator in operators(load(saved))):
        pytest.skip("ONNX Runtime does not change the layout on this processor")
    with pytest.raises(GradientError, match=r"nchwc::\w+ .* ORT_ENABLE_EXTENDED"):
        decompose_fused(load(saved))


def optimized(model: Path, level: str, folder: Path) -> Path:
    """The model that ONNX Runtime saves."""
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model, options, ["CPUExecutionProvider"])
    return folder / "optimized.onnx"


def test_what_is_not_understood_stays() -> None:
    model = load(model_of("Attention<num_heads=2>(rows, qkv, qkv_bias, ends_and_starts)"))
    assert operators(undone(model)) == ["com.microsoft::Attention"]
