"""Parts of graphs with subgraphs, local functions and sequences, and quantized parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from hypothesis import strategies as st
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from tools.fuzz.blocks import Block, Draw
from tools.fuzz.net import Flow, Net

LOCAL_DOMAIN = "local"
_UNARY = ["Relu", "Sigmoid", "Tanh", "Neg", "Identity"]


def _body(
    net: Net,
    write: Callable[[], list[str]],
    inputs: list[ValueInfoProto],
    kinds: list[int],
) -> GraphProto:
    """The graph of the nodes that `write` adds; it returns the names of the outputs."""
    outside, net.nodes = net.nodes, []
    names = write()
    outputs = [
        helper.make_tensor_value_info(name, kind, None)
        for name, kind in zip(names, kinds, strict=True)
    ]
    graph = helper.make_graph(net.nodes, net.name("body"), inputs, outputs)
    net.nodes = outside
    return graph


def condition(net: Net, x: Flow, draw: Draw) -> Flow:
    """An If, whose condition is constant or depends on the input."""
    if draw(st.booleans()):
        chosen = net.weight(np.array(draw(st.booleans())))
    else:
        mean = net.reduce("ReduceMean", x.name, [0, 1, 2, 3], keepdims=0)
        chosen = net.add("Greater", mean, net.number(0.05))
    ops = [draw(st.sampled_from(_UNARY)) for _ in range(2)]

    def branch(op: str) -> GraphProto:
        return _body(net, lambda: [net.add(op, x.name)], [], [TensorProto.FLOAT])

    y = net.add("If", chosen, then_branch=branch(ops[0]), else_branch=branch(ops[1]))
    return Flow(y, x.sizes)


def loop(net: Net, x: Flow, draw: Draw) -> Flow:
    """A Loop of a few rounds, which carries a tensor."""
    op, rounds = draw(st.sampled_from(_UNARY)), draw(st.integers(0, 3))
    number, going, carried = (net.name(stem) for stem in ("round", "going", "carried"))
    inputs = [
        helper.make_tensor_value_info(number, TensorProto.INT64, []),
        helper.make_tensor_value_info(going, TensorProto.BOOL, []),
        helper.make_tensor_value_info(carried, TensorProto.FLOAT, None),
    ]

    def write() -> list[str]:
        changed = net.add("Mul", net.add(op, carried), net.number(0.9))
        return [net.add("Identity", going), changed]

    body = _body(net, write, inputs, [TensorProto.BOOL, TensorProto.FLOAT])
    most, first = net.weight(np.int64(rounds)), net.weight(np.array(True))
    return Flow(net.add("Loop", most, first, x.name, body=body), x.sizes)


def scan(net: Net, x: Flow, draw: Draw) -> Flow:
    """A Scan over the rows, which adds them up."""
    channels, rows, columns = x.sizes
    batch_first = net.reduce("ReduceSum", x.name, [2], keepdims=0)
    state, row = net.name("state"), net.name("row")
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in (state, row)]

    def write() -> list[str]:
        total = net.add("Add", state, row)
        return [total, net.add("Tanh", total)]

    body = _body(net, write, inputs, [TensorProto.FLOAT] * 2)
    start = net.add("Mul", batch_first, net.number(0.0))
    _, scanned = net.several(
        "Scan",
        2,
        start,
        x.name,
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[2],
        scan_output_axes=[2],
    )
    return Flow(scanned, (channels, rows, columns))


def function(net: Net, x: Flow, draw: Draw) -> Flow:
    """A call of a function of the model, which may call another one."""
    ops = draw(st.lists(st.sampled_from(_UNARY), min_size=1, max_size=3))
    name = net.name("function")
    names = ["a", *(f"b{i}" for i in range(len(ops)))]
    nodes = [
        helper.make_node(op, [before], [after])
        for op, before, after in zip(ops, names, names[1:], strict=False)
    ]
    inner = [f for f in net.functions if len(f.input) == 1]
    if inner and draw(st.booleans()):
        nodes.append(helper.make_node(inner[0].name, [names[-1]], ["c"], domain=LOCAL_DOMAIN))
        names.append("c")
    opsets = [helper.make_opsetid("", net.opset), helper.make_opsetid(LOCAL_DOMAIN, 1)]
    net.functions.append(
        helper.make_function(LOCAL_DOMAIN, name, ["a"], [names[-1]], nodes, opsets)
    )
    return Flow(net.add(name, x.name, domain=LOCAL_DOMAIN), x.sizes)


def sequence(net: Net, x: Flow, draw: Draw) -> Flow:
    """A sequence of two tensors, of which one is taken."""
    both = net.add("SequenceConstruct", x.name, net.add("Neg", x.name))
    taken = net.add("SequenceAt", both, net.weight(np.int64(draw(st.integers(-2, 1)))))
    return Flow(taken, x.sizes)


def quantize_dequantize(net: Net, x: Flow, draw: Draw) -> Flow:
    """What a quantized model has between its layers."""
    kind = draw(st.sampled_from([np.uint8, np.int8]))
    around = net.number(0.05), net.weight(kind(draw(st.sampled_from([0, 100]))))
    stored = net.add("QuantizeLinear", x.name, *around)
    return Flow(net.add("DequantizeLinear", stored, *around), x.sizes)


def quantized_conv(net: Net, x: Flow, draw: Draw) -> Flow:
    """A convolution whose weights are stored as int8."""
    channels, rows, columns = x.sizes
    stored = net.weight(net.rng.integers(-127, 127, (3, channels, 1, 1)).astype(np.int8))
    scale = net.weight(net.rng.uniform(0.001, 0.01, 3).astype(np.float32))
    weights = net.add("DequantizeLinear", stored, scale, net.weight(np.zeros(3, np.int8)), axis=0)
    y = net.add("Conv", quantize_dequantize(net, x, draw).name, weights)
    return Flow(y, (3, rows, columns))


def dynamic_quantization(net: Net, x: Flow, draw: Draw) -> Flow:
    """Quantized by the smallest and the largest value of the whole batch."""
    channels, rows, columns = x.sizes
    stored, scale, zero = net.several("DynamicQuantizeLinear", 3, x.name)
    kernel = net.weight(net.rng.integers(-127, 127, (2, channels, 1, 1)).astype(np.int8))
    whole = net.add("ConvInteger", stored, kernel, zero)
    real = net.add("Mul", net.add("Cast", whole, to=1), scale)
    return Flow(net.add("Mul", real, net.number(0.01)), (2, rows, columns))


def contributed(op: str) -> Block:
    """A function of each element that only ONNX Runtime has."""

    def build(net: Net, x: Flow, draw: Draw) -> Flow:
        return Flow(net.add(op, x.name, domain="com.microsoft"), x.sizes)

    return Block(build)


BODIES: Mapping[str, Block] = {
    "if": Block(condition, 11),
    "loop": Block(loop, 11),
    "scan": Block(scan, 11),
    "function": Block(function, 15),
    "sequence": Block(sequence, 11),
    "quantize": Block(quantize_dequantize, 13, exact=False),
    "quantized conv": Block(quantized_conv, 13, exact=False),
    "dynamic quantization": Block(dynamic_quantization, 11, exact=False),
    "fused gelu": contributed("Gelu"),
    "quick gelu": contributed("QuickGelu"),
    "gelu by tanh": contributed("FastGelu"),
}
"""By name."""
