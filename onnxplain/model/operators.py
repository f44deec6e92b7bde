"""Groups of operators, by what each one does to the elements of the tensors that it reads.

Names are those of ONNX and of ONNX Runtime's own domain. An operator of that domain that has the
name of a standard one does the same. Quantized and fused forms of a standard operator are not in
the groups: call `standard_form` first to include them.
"""

from __future__ import annotations

from typing import NamedTuple

from onnx import NodeProto


def _ops(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Domains.

MICROSOFT = "com.microsoft"
"""ONNX Runtime's own operators."""

STANDARD_DOMAINS = frozenset(["", "ai.onnx"])
"""Both names of the default domain."""

KNOWN_DOMAINS = STANDARD_DOMAINS | {MICROSOFT}
"""Domains whose operators are known. In others the same name may mean another function."""

PROCESSOR_DOMAINS = frozenset(["com.microsoft.nchwc", "com.ms.internal.nhwc"])
"""Domains of operators whose tensors and weights have a layout for one kind of processor."""

DETERMINISTIC_DOMAINS = KNOWN_DOMAINS | PROCESSOR_DOMAINS | {"ai.onnx.ml"}
"""Domains whose operators give the same outputs for the same inputs, apart from `RANDOM`."""

# Elementwise: one output element from the input elements at the same position.

COPIES = _ops("Identity Cast CastLike Dropout")
"""The output is the input, element for element (Dropout: in inference)."""

ROUNDS = _ops("QuantizeLinear DequantizeLinear")
"""Each element stays in its place and is quantized or dequantized."""

KEEPS_VALUES = COPIES | ROUNDS
"""Each element stays in its place and represents the same number, up to rounding."""

QUANTIZERS = _ops("QuantizeLinear DynamicQuantizeLinear")
"""Their first output holds the quantized elements of the input."""

SCALED_BY_BATCH = _ops("DynamicQuantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul")
"""They quantize by the least and the largest value of the whole batch."""

UNARY = _ops(
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Clip Cos Cosh Elu Erf Exp Floor "
    "Gelu HardSigmoid HardSwish IsInf IsNaN LeakyRelu Log Mish Neg Not QuickGelu Reciprocal Relu "
    "Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu"
)
"""A function of each element of the first input alone; other inputs are its parameters."""

ARITHMETIC = _ops("Add Sub Mul Div")

BROADCASTING = ARITHMETIC | _ops(
    "And BiasGelu BitShift BitwiseAnd BitwiseOr BitwiseXor Equal FastGelu Greater GreaterOrEqual "
    "Less LessOrEqual Max Mean Min Mod Or PRelu Pow Sum Where Xor"
)
"""A function of the elements at the same position of all inputs, after broadcasting."""

# Operators that move elements.

KEEPS_ORDER = _ops("Reshape Flatten Squeeze Unsqueeze")
"""The same elements in the same order, with other dimensions."""

MOVES = KEEPS_ORDER | _ops(
    "Compress Concat DepthToSpace Expand Gather GatherElements GatherND ReverseSequence Slice "
    "SpaceToDepth Split Tile Transpose"
)
"""Each output element is an input element; some may be repeated or left out."""

CARRIES = KEEPS_VALUES | KEEPS_ORDER | {"Transpose"}
"""Each element occurs once, unchanged up to rounding, but its position may change."""

FILLS = _ops("Pad Trilu")
"""Like `MOVES`, but some output elements are a given number instead."""

SCATTERS = _ops("Scatter ScatterElements ScatterND")
"""Some elements of the first input are replaced, at positions that another input gives."""

# One element from many.

REDUCTIONS = _ops(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare"
)
"""One output element from all elements along some axes."""

AVERAGE_POOLS = _ops("AveragePool GlobalAveragePool")

MAX_POOLS = _ops("MaxPool GlobalMaxPool")

POOLS = AVERAGE_POOLS | MAX_POOLS | _ops("LpPool GlobalLpPool")
"""One output element from each window, or from all positions, of each channel."""

EXTREMA = MAX_POOLS | _ops("ReduceMax ReduceMin")
"""Each output element is one of the input elements."""

CONVOLUTIONS = _ops("Conv ConvTranspose")

WEIGHTED = CONVOLUTIONS | _ops("Gemm MatMul")
"""Linear layers: input 0 times input 1, the weights, plus input 2 if there is one."""

LINEAR = AVERAGE_POOLS | _ops(
    "Add Sub Sum Mean Neg ReduceSum ReduceMean Resize CumSum BatchNormalization"
)
"""Affine in all data inputs; without weights, except for a scale per channel."""

SOFTMAXES = _ops("Softmax LogSoftmax")

LAYER_NORMALIZATIONS = _ops("LayerNormalization RMSNormalization SimplifiedLayerNormalization")
"""Input 0 normalized over its last axes."""

SKIP_NORMALIZATIONS = _ops("SkipLayerNormalization SkipSimplifiedLayerNormalization")
"""The sum of inputs 0 and 1 normalized over its last axes."""

NORMALIZES_LAST = LAYER_NORMALIZATIONS | SKIP_NORMALIZATIONS

CHANNEL_NORMALIZATIONS = _ops("BatchNormalization GroupNormalization InstanceNormalization LRN")
"""Input 0 normalized; channels are on axis 1, spatial axes follow."""

RECURRENT = _ops("GRU LSTM RNN")

LAYERS = (
    WEIGHTED
    | RECURRENT
    | _ops("Attention DeformConv DynamicQuantizeLSTM Einsum MatMulNBits QAttention")
)
"""Layers whose constant inputs of rank 2 or more are weights; call `standard_form` first.

The constants of other operators are not: a detector adds positions and multiplies by strides.
"""

# Others.

SIZE_READERS = _ops("Shape Size")
"""They read only sizes: their output does not depend on the values of the input."""

CONTROL_FLOW = _ops("If Loop Scan")

RANDOM = _ops("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike")
"""Their outputs are random."""


class Form(NamedTuple):
    """A quantized or fused operator: the standard operator it computes, and its data inputs.

    `data` is the slice of the node's inputs that are data, in the order of the standard operator.
    """

    of: str
    data: slice


_TWO, _THREE = slice(2), slice(3)
_FIRST_IN_THREES, _PAIR_IN_THREES = slice(1), slice(0, 6, 3)  # each with scale and zero point

FORMS = {
    # Each data input with its scale and zero point.
    "QGemm": Form("Gemm", _PAIR_IN_THREES),
    "QLinearAdd": Form("Add", _PAIR_IN_THREES),
    "QLinearAveragePool": Form("AveragePool", _FIRST_IN_THREES),
    "QLinearConcat": Form("Concat", slice(2, None, 3)),
    "QLinearConv": Form("Conv", _PAIR_IN_THREES),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", _FIRST_IN_THREES),
    "QLinearLeakyRelu": Form("LeakyRelu", _FIRST_IN_THREES),
    "QLinearMatMul": Form("MatMul", _PAIR_IN_THREES),
    "QLinearMul": Form("Mul", _PAIR_IN_THREES),
    "QLinearSigmoid": Form("Sigmoid", _FIRST_IN_THREES),
    "QLinearSoftmax": Form("Softmax", _FIRST_IN_THREES),
    # Data inputs first.
    "ConvInteger": Form("Conv", _TWO),
    "MatMulInteger": Form("MatMul", _TWO),
    "MatMulIntegerToFloat": Form("MatMul", _TWO),
    "DynamicQuantizeMatMul": Form("MatMul", _TWO),
    # Fused with a node before or after.
    "FusedConv": Form("Conv", _THREE),
    "FusedGemm": Form("Gemm", _THREE),
    "FusedMatMul": Form("MatMul", _TWO),
}


def standard_form(op: str) -> str:
    """The standard operator of which `op` is a quantized or fused form; else `op` itself."""
    return FORMS[op].of if op in FORMS else op


def data_places(op: str, count: int) -> range:
    """Indices of the data inputs among `count`, without scales, zero points and fused inputs."""
    return range(count)[FORMS[op].data] if op in FORMS else range(count)


def reads_in_threes(op: str) -> bool:
    """Whether an operator reads each data input as three: integers, scale, zero point."""
    return op.startswith("QLinear") or op in ("DequantizeLinear", "QGemm")


def computes_with_integers(op: str) -> bool:
    """Whether an operator quantizes, or reads quantized tensors."""
    return reads_in_threes(op) or "Quantize" in op or op.endswith("Integer")


def standard_domain(domain: str) -> str:
    """The domain; "" for both names of the default one."""
    return "" if domain in STANDARD_DOMAINS else domain


def key_of(node: NodeProto) -> tuple[str, str]:
    """Domain and operator of a node."""
    return standard_domain(node.domain), node.op_type
