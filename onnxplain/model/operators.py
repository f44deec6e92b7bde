"""Facts about operators: what each one does to the elements of the tensors that it reads.

Names are those of ONNX and of ONNX Runtime's own domain, where an operator that has the name of a
standard one does the same. Groups hold standard operators, and others that are no form of one: ask
`standard_form` first where quantized and fused forms count as well.
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
"""Operators of other domains may do anything by the same name."""

PROCESSOR_DOMAINS = frozenset(["com.microsoft.nchwc", "com.ms.internal.nhwc"])
"""Operators on tensors and weights laid out for one kind of processor."""

# One element from one element, or from the elements at the same place.

COPIES = _ops("Identity Cast CastLike Dropout")
"""Each element as it is, in its place; Dropout in inference."""

ROUNDS = _ops("QuantizeLinear DequantizeLinear")
"""Each element in its place, as an integer that stands for it, or back."""

KEEPS_VALUES = COPIES | ROUNDS
"""Each element stays in its place and means the same, but for rounding."""

QUANTIZERS = _ops("QuantizeLinear DynamicQuantizeLinear")
"""Their first output holds integers that stand for the reals of the input."""

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
"""A function of the elements at one place of all inputs, which are broadcast to one shape."""

# Elements moved about.

KEEPS_ORDER = _ops("Reshape Flatten Squeeze Unsqueeze")
"""The same elements in the same order, with other dimensions."""

MOVES = KEEPS_ORDER | _ops(
    "Compress Concat DepthToSpace Expand Gather GatherElements GatherND ReverseSequence Slice "
    "SpaceToDepth Split Tile Transpose"
)
"""Elements of the input in other places; some may be repeated or left out, none is new."""

CARRIES = KEEPS_VALUES | KEEPS_ORDER | {"Transpose"}
"""Each element once and unchanged but for rounding, perhaps in another place."""

FILLS = _ops("Pad Trilu")
"""As `MOVES`, with a given number in the other places."""

SCATTERS = _ops("Scatter ScatterElements ScatterND")
"""Some elements of the first input are replaced, at places that an input gives."""

# One element from many.

REDUCTIONS = _ops(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare"
)
"""One number for all elements along some axes."""

AVERAGE_POOLS = _ops("AveragePool GlobalAveragePool")

MAX_POOLS = _ops("MaxPool GlobalMaxPool")

POOLS = AVERAGE_POOLS | MAX_POOLS | _ops("LpPool GlobalLpPool")
"""One number for each window, or for all places, of each channel."""

EXTREMA = MAX_POOLS | _ops("ReduceMax ReduceMin")
"""One of the elements that are read."""

CONVOLUTIONS = _ops("Conv ConvTranspose")

WEIGHTED = CONVOLUTIONS | _ops("Gemm MatMul")
"""Linear layers: input 0 times input 1, the weights, plus input 2 if there is one."""

LINEAR = AVERAGE_POOLS | _ops(
    "Add Sub Sum Mean Neg ReduceSum ReduceMean Resize CumSum BatchNormalization"
)
"""Linear in all inputs that hold data, up to a constant; no weights but a scale per channel."""

SOFTMAXES = _ops("Softmax LogSoftmax")

LAYER_NORMALIZATIONS = _ops("LayerNormalization RMSNormalization SimplifiedLayerNormalization")
"""Input 0 normalized over its last axes."""

SKIP_NORMALIZATIONS = _ops("SkipLayerNormalization SkipSimplifiedLayerNormalization")
"""The same of the sum of inputs 0 and 1."""

NORMALIZES_LAST = LAYER_NORMALIZATIONS | SKIP_NORMALIZATIONS

CHANNEL_NORMALIZATIONS = _ops("BatchNormalization GroupNormalization InstanceNormalization LRN")
"""Input 0 normalized, with its channels on axis 1 and places after it."""

RECURRENT = _ops("GRU LSTM RNN")

# Others.

SIZE_READERS = _ops("Shape Size")
"""They read sizes, not values: nothing of a picture flows through them."""

CONTROL_FLOW = _ops("If Loop Scan")

RANDOM = _ops("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike")
"""Their results differ from run to run."""


class Form(NamedTuple):
    """A quantized or fused operator: the standard operator it computes, and its data inputs.

    `data` picks them out of all inputs, in the order in which the standard operator reads them.
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
    # Fused with what comes before or after.
    "FusedConv": Form("Conv", _THREE),
    "FusedGemm": Form("Gemm", _THREE),
    "FusedMatMul": Form("MatMul", _TWO),
}


def standard_form(op: str) -> str:
    """The standard operator that an operator is a form of; most often it is that itself."""
    return FORMS[op].of if op in FORMS else op


def data_places(op: str, count: int) -> range:
    """Which of a node's `count` inputs are data, and not scales, zero points or what is fused."""
    return range(count)[FORMS[op].data] if op in FORMS else range(count)


def reads_in_threes(op: str) -> bool:
    """Whether an operator reads each data input in three: integers, scale, zero point."""
    return op.startswith("QLinear") or op in ("DequantizeLinear", "QGemm")


def computes_with_integers(op: str) -> bool:
    """Whether an operator rounds to integers, or reads integers that stand for reals."""
    return reads_in_threes(op) or "Quantize" in op or op.endswith("Integer")


def standard_domain(domain: str) -> str:
    """The domain, by one name where it is the default one."""
    return "" if domain in STANDARD_DOMAINS else domain


def key_of(node: NodeProto) -> tuple[str, str]:
    """Domain and operator of a node."""
    return standard_domain(node.domain), node.op_type
