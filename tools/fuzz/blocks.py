"""Parts of graphs: each takes planes of (channels, rows, columns) and gives such planes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from tools.fuzz.net import Flow, Net

Draw = Callable[..., Any]
Build = Callable[[Net, Flow, Draw], Flow]


class Block(NamedTuple):
    """A part of a graph, and the first operator set that has it.

    `exact` is false where its derivative is not that of what it computes, as for rounding.
    """

    build: Build
    since: int = 7
    exact: bool = True


def conv(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    side = draw(st.sampled_from([1, 3]))
    stride = draw(st.sampled_from([1, 1, 2]))
    group = draw(st.sampled_from([1, 1, channels]))
    out = group * draw(st.integers(1, 4))
    kernel = net.normal(out, channels // group, side, side, gain=0.5)
    bias = [net.normal(out)] if draw(st.booleans()) else []
    shared: dict[str, Any] = {"kernel_shape": [side, side], "strides": [stride, stride]}
    shared |= draw(st.sampled_from([{"auto_pad": "SAME_UPPER"}, {"pads": [side // 2] * 4}]))
    y = net.add("Conv", x.name, kernel, *bias, group=group, **shared)
    return Flow(y, (out, -(-rows // stride), -(-columns // stride)))


def conv_transpose(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if rows * columns > 256:
        return x
    out = draw(st.integers(1, 3))
    y = net.add("ConvTranspose", x.name, net.normal(channels, out, 2, 2), strides=[2, 2])
    return Flow(y, (out, 2 * rows, 2 * columns))


def activation(op: str, **attributes: Any) -> Build:
    """A function of each element."""

    def build(net: Net, x: Flow, draw: Draw) -> Flow:
        return Flow(net.add(op, x.name, **attributes), x.sizes)

    return build


def of_positive(op: str) -> Build:
    """A function that is defined for positive numbers."""

    def build(net: Net, x: Flow, draw: Draw) -> Flow:
        positive = net.add("Add", net.add("Abs", x.name), net.number(1.0))
        return Flow(net.add(op, positive), x.sizes)

    return build


def of_small(op: str) -> Build:
    """A function that grows fast."""

    def build(net: Net, x: Flow, draw: Draw) -> Flow:
        return Flow(net.add(op, net.add("Tanh", x.name)), x.sizes)

    return build


def prelu(net: Net, x: Flow, draw: Draw) -> Flow:
    return Flow(net.add("PRelu", x.name, net.normal(x.sizes[0], 1, 1)), x.sizes)


def clip(net: Net, x: Flow, draw: Draw) -> Flow:
    return Flow(net.clip(x.name, -1.0, draw(st.sampled_from([1.0, 6.0]))), x.sizes)


def batch_norm(net: Net, x: Flow, draw: Draw) -> Flow:
    channels = x.sizes[0]
    spread = net.weight(net.rng.uniform(0.5, 2, channels).astype(np.float32))
    first = [net.normal(channels) for _ in range(3)]
    return Flow(net.add("BatchNormalization", x.name, *first, spread), x.sizes)


def instance_norm(net: Net, x: Flow, draw: Draw) -> Flow:
    scale, bias = (net.normal(x.sizes[0]) for _ in range(2))
    return Flow(net.add("InstanceNormalization", x.name, scale, bias), x.sizes)


def layer_norm(net: Net, x: Flow, draw: Draw) -> Flow:
    scale = net.normal(*x.sizes)
    return Flow(net.add("LayerNormalization", x.name, scale, axis=1), x.sizes)


def group_norm(net: Net, x: Flow, draw: Draw) -> Flow:
    scale, bias = (net.normal(x.sizes[0]) for _ in range(2))
    y = net.add("GroupNormalization", x.name, scale, bias, num_groups=1)
    return Flow(y, x.sizes)


def local_response(net: Net, x: Flow, draw: Draw) -> Flow:
    return Flow(net.add("LRN", x.name, size=3, alpha=0.1), x.sizes)


def pool(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if min(rows, columns) < 2:
        return x
    op = draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool"]))
    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    padded = draw(st.booleans())
    if padded:
        attributes["auto_pad"] = "SAME_UPPER"
    y = net.add(op, x.name, **attributes)
    up = int(padded)
    return Flow(y, (channels, (rows + up) // 2, (columns + up) // 2))


def resize(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if rows * columns > 256:
        return x
    scales = net.weight(np.array([1, 1, 2, 2], np.float32))
    if net.opset < 10:
        y = net.add("Upsample", x.name, scales) if net.opset == 9 else ""
        return Flow(y, (channels, 2 * rows, 2 * columns)) if y else x
    if net.opset == 10:
        return Flow(net.add("Resize", x.name, scales), (channels, 2 * rows, 2 * columns))
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    where = draw(st.sampled_from(["half_pixel", "align_corners", "asymmetric"]))
    region = net.weight(np.zeros(0, np.float32))
    y = net.add("Resize", x.name, region, scales, mode=mode, coordinate_transformation_mode=where)
    return Flow(y, (channels, 2 * rows, 2 * columns))


def pad(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    mode = draw(st.sampled_from(["constant", "edge", "reflect"]))
    if min(rows, columns) < 2:
        return x
    y = net.pad(x.name, [0, 0, 1, 0, 0, 0, 0, 1], mode)
    return Flow(y, (channels, rows + 1, columns + 1))


def residual(net: Net, x: Flow, draw: Draw) -> Flow:
    op = draw(st.sampled_from(["Add", "Mul", "Sub", "Max", "Min", "Mean", "Sum"]))
    other = net.add(draw(st.sampled_from(["Relu", "Sigmoid", "Tanh"])), x.name)
    return Flow(net.add(op, x.name, other), x.sizes)


def branches(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if channels > 8:
        return x
    y = net.add("Concat", x.name, net.add("Neg", x.name), axis=draw(st.sampled_from([1, -3])))
    return Flow(y, (2 * channels, rows, columns))


def split(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if channels < 2:
        return x
    left, right = net.split(x.name, 1, [1, channels - 1])
    y = net.add("Mul", left, right)
    return Flow(y, (channels - 1, rows, columns))


def crop(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if min(rows, columns) < 3:
        return x
    y = net.slice(x.name, 2, 1, draw(st.sampled_from([2**31 - 1, rows])))
    return Flow(y, (channels, rows - 1, columns))


def transposed(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    last = net.add("Transpose", x.name, perm=[0, 2, 3, 1])
    changed = net.add("Add", net.add("MatMul", last, net.normal(channels, 2)), net.normal(2))
    return Flow(net.add("Transpose", changed, perm=[0, 3, 1, 2]), (2, rows, columns))


def blocks_of_depth(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if rows % 2 or columns % 2 or channels > 4:
        return x
    y = net.add("SpaceToDepth", x.name, blocksize=2)
    return Flow(y, (4 * channels, rows // 2, columns // 2))


def squeeze_excite(net: Net, x: Flow, draw: Draw) -> Flow:
    pooled = net.add("GlobalAveragePool", x.name)
    gate = net.add("Sigmoid", net.add("Mul", pooled, net.normal(1, x.sizes[0], 1, 1)))
    return Flow(net.add("Mul", x.name, gate), x.sizes)


def chosen(net: Net, x: Flow, draw: Draw) -> Flow:
    larger = net.add("Greater", x.name, net.number(0.1))
    y = net.add("Where", larger, x.name, net.add("Mul", x.name, net.number(-0.3)))
    return Flow(y, x.sizes)


def casts(net: Net, x: Flow, draw: Draw) -> Flow:
    to = draw(st.sampled_from([11, 1]))
    return Flow(net.add("Cast", net.add("Cast", x.name, to=to), to=1), x.sizes)


def half(net: Net, x: Flow, draw: Draw) -> Flow:
    low = net.add("Cast", x.name, to=10)
    low = net.add("Mul", low, net.weight(np.float16(1.5)))
    return Flow(net.add("Cast", low, to=1), x.sizes)


def reshaped(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    flat = net.add("Reshape", x.name, net.ints(0, channels, -1))
    tokens = net.add("Transpose", flat, perm=[0, 2, 1])
    mixed = net.add("Transpose", net.add("MatMul", tokens, net.normal(channels, 3)), perm=[0, 2, 1])
    if draw(st.booleans()):
        return Flow(net.add("Reshape", mixed, net.ints(0, 3, rows, columns)), (3, rows, columns))
    sizes = net.add("Shape", x.name)
    batch, rest = net.slice(sizes, 0, 0, 1), net.slice(sizes, 0, 2, 4)
    whole = net.add("Concat", batch, net.ints(3), rest, axis=0)
    return Flow(net.add("Reshape", mixed, whole), (3, rows, columns))


def attention(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if rows * columns > 144:
        return x
    tokens = net.add(
        "Transpose", net.add("Reshape", x.name, net.ints(0, channels, -1)), perm=[0, 2, 1]
    )
    q, k, v = (net.add("MatMul", tokens, net.normal(channels, channels, gain=0.5)) for _ in "qkv")
    scores = net.add("MatMul", q, net.add("Transpose", k, perm=[0, 2, 1]))
    weights = net.add("Softmax", scores, axis=2)
    mixed = net.add("Transpose", net.add("MatMul", weights, v), perm=[0, 2, 1])
    return Flow(net.add("Reshape", mixed, net.ints(0, channels, rows, columns)), x.sizes)


def gathered(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    indices = draw(st.lists(st.integers(0, channels - 1), min_size=1, max_size=4))
    y = net.add("Gather", x.name, net.ints(*indices), axis=1)
    return Flow(y, (len(indices), rows, columns))


def tiled(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    if channels > 6:
        return x
    y = net.add("Tile", x.name, net.ints(1, 2, 1, 1))
    return Flow(y, (2 * channels, rows, columns))


def centered(net: Net, x: Flow, draw: Draw) -> Flow:
    op = draw(st.sampled_from(["Mean", "Max", "Sum", "L2", "LogSumExp"]))
    middle = net.reduce(f"Reduce{op}", x.name, draw(st.sampled_from([[1], [2, 3], [-1]])))
    return Flow(net.add("Sub", x.name, middle), x.sizes)


def cumulated(net: Net, x: Flow, draw: Draw) -> Flow:
    return Flow(net.add("CumSum", x.name, net.weight(np.int32(3))), x.sizes)


def einsum(net: Net, x: Flow, draw: Draw) -> Flow:
    channels, rows, columns = x.sizes
    y = net.add("Einsum", x.name, net.normal(channels, 2), equation="bcij,cd->bdij")
    return Flow(y, (2, rows, columns))


def top(net: Net, x: Flow, draw: Draw) -> Flow:
    _, rows, columns = x.sizes
    values, _ = net.several("TopK", 2, x.name, net.ints(1), axis=1)
    return Flow(values, (1, rows, columns))


def softmax(net: Net, x: Flow, draw: Draw) -> Flow:
    op = draw(st.sampled_from(["Softmax", "LogSoftmax"]))
    return Flow(net.add(op, x.name, axis=draw(st.sampled_from([1, 3]))), x.sizes)


def dropout(net: Net, x: Flow, draw: Draw) -> Flow:
    return Flow(net.add("Dropout", x.name), x.sizes)


def drawn(net: Net, x: Flow, draw: Draw) -> Flow:
    """Noise is added, so that two answers for one sample differ."""
    return Flow(net.add("Add", x.name, net.add("RandomNormalLike", x.name, scale=0.1)), x.sizes)


def rows_in_turn(op: str, gates: int) -> Build:
    """A recurrent layer over the rows of the first channel."""

    def build(net: Net, x: Flow, draw: Draw) -> Flow:
        _, rows, columns = x.sizes
        first = net.squeeze(net.slice(x.name, 1, 0, 1), 1)
        steps = net.add("Transpose", first, perm=[1, 0, 2])
        w = net.normal(1, gates * 3, columns, gain=0.5)
        r = net.normal(1, gates * 3, 3, gain=0.5)
        y = net.add("Transpose", net.add(op, steps, w, r, hidden_size=3), perm=[2, 1, 0, 3])
        return Flow(y, (1, rows, 3))

    return build


_ALWAYS = (
    "Relu Sigmoid Tanh Softplus Softsign Elu Selu LeakyRelu HardSigmoid Abs Neg Identity".split()
)

BLOCKS: Mapping[str, Block] = {
    "conv": Block(conv),
    "conv transpose": Block(conv_transpose),
    **{op.lower(): Block(activation(op)) for op in _ALWAYS},
    "thresholded relu": Block(activation("ThresholdedRelu", alpha=0.2), 10),
    "celu": Block(activation("Celu"), 12),
    "hard swish": Block(activation("HardSwish"), 14),
    "mish": Block(activation("Mish"), 18),
    "gelu": Block(activation("Gelu"), 20),
    "swish": Block(activation("Swish"), 24),
    "erf": Block(activation("Erf"), 9),
    "sine": Block(activation("Sin")),
    "arc tangent": Block(activation("Atan")),
    "round": Block(activation("Round"), 11, exact=False),
    "floor": Block(activation("Floor"), exact=False),
    "sign": Block(activation("Sign"), 9, exact=False),
    "square root": Block(of_positive("Sqrt")),
    "logarithm": Block(of_positive("Log")),
    "reciprocal": Block(of_positive("Reciprocal")),
    "exponential": Block(of_small("Exp")),
    "cosine": Block(of_small("Cos")),
    "prelu": Block(prelu),
    "clip": Block(clip),
    "batch norm": Block(batch_norm),
    "instance norm": Block(instance_norm),
    "layer norm": Block(layer_norm, 17),
    "group norm": Block(group_norm, 21),
    "lrn": Block(local_response),
    "pool": Block(pool),
    "resize": Block(resize),
    "pad": Block(pad),
    "residual": Block(residual, 8),
    "branches": Block(branches, 13),
    "split": Block(split),
    "crop": Block(crop),
    "transposed": Block(transposed),
    "space to depth": Block(blocks_of_depth, 13),
    "squeeze and excite": Block(squeeze_excite),
    "where": Block(chosen, 9),
    "casts": Block(casts),
    "float16": Block(half, 13, exact=False),
    "reshape": Block(reshaped),
    "attention": Block(attention),
    "gather": Block(gathered),
    "tile": Block(tiled),
    "centered": Block(centered),
    "cumulative sum": Block(cumulated, 11),
    "einsum": Block(einsum, 12),
    "top": Block(top, 10),
    "softmax": Block(softmax, 13),
    "dropout": Block(dropout, 7),
    "random": Block(drawn, exact=False),
    "lstm": Block(rows_in_turn("LSTM", 4)),
    "gru": Block(rows_in_turn("GRU", 3)),
    "rnn": Block(rows_in_turn("RNN", 1)),
}
"""By name. A block whose sizes do not fit gives its input back."""
