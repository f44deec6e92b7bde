"""One step of RNN, GRU and LSTM, by the definitions of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.node_view import NodeView
from onnxplain.transforms.builder import Builder

F32 = np.float32

Activation = Callable[[Builder, gs.Tensor], gs.Tensor]


@dataclass(frozen=True)
class Cell:
    """What a step of one direction needs beside its input and its states.

    `weights` turn a state into its share of all gates, (size, gates · size). `bias` is that of the
    state where it cannot be added to the input's, and `peepholes` are (3, size), for the input,
    output and forget gate.
    """

    step: NodeView
    activations: Sequence[Activation]
    weights: gs.Tensor
    bias: gs.Tensor | None
    peepholes: gs.Tensor | None


def rnn(b: Builder, cell: Cell, x: gs.Tensor, h: gs.Tensor) -> list[gs.Tensor]:
    """The new state, (batch, size), from the input's share of the gates and the old state."""
    (f,) = cell.activations
    return [f(b, b.Add(x, b.MatMul(h, cell.weights)))]


def gru(b: Builder, cell: Cell, x: gs.Tensor, h: gs.Tensor) -> list[gs.Tensor]:
    """As `rnn`; gates are update, reset and the new state."""
    (f, g), size = cell.activations, cell.step.attr("hidden_size")
    parts = np.array([2 * size, size])
    x_gates, x_new = b.many("Split", 2, x, parts, axis=-1)
    if cell.step.attr("linear_before_reset", 0):
        share = b.MatMul(h, cell.weights)
        share = share if cell.bias is None else b.Add(share, cell.bias)
        h_gates, h_new = b.many("Split", 2, share, parts, axis=-1)
        update, reset = b.many("Split", 2, f(b, b.Add(x_gates, h_gates)), axis=-1, num_outputs=2)
        new = g(b, b.Add(x_new, b.Mul(reset, h_new)))
    else:
        to_gates, to_new = b.many("Split", 2, cell.weights, parts, axis=-1)
        gates = f(b, b.Add(x_gates, b.MatMul(h, to_gates)))
        update, reset = b.many("Split", 2, gates, axis=-1, num_outputs=2)
        new = g(b, b.Add(x_new, b.MatMul(b.Mul(reset, h), to_new)))
    return [b.Add(b.Mul(b.Sub(F32(1), update), new), b.Mul(update, h))]


def lstm(b: Builder, cell: Cell, x: gs.Tensor, h: gs.Tensor, c: gs.Tensor) -> list[gs.Tensor]:
    """As `rnn`, with a second state; gates are input, output, forget and the new second state."""
    (f, g, out), peepholes = cell.activations, cell.peepholes
    p = [] if peepholes is None else b.many("Split", 3, peepholes, axis=0, num_outputs=3)

    def peeping(gate: gs.Tensor, place: int, state: gs.Tensor) -> gs.Tensor:
        return b.Add(gate, b.Mul(p[place], state)) if p else gate

    gates = b.Add(x, b.MatMul(h, cell.weights))
    i, o, forget, new = b.many("Split", 4, gates, axis=-1, num_outputs=4)
    i = f(b, peeping(i, 0, c))
    coupled = cell.step.attr("input_forget", 0)
    kept = b.Sub(F32(1), i) if coupled else f(b, peeping(forget, 2, c))
    c = b.Add(b.Mul(kept, c), b.Mul(i, g(b, new)))
    return [b.Mul(f(b, peeping(o, 1, c)), out(b, c)), c]


def _affine(b: Builder, x: gs.Tensor, alpha: float, beta: float) -> gs.Tensor:
    return b.Add(b.Mul(x, F32(alpha)), F32(beta))


def _scaled_tanh(b: Builder, x: gs.Tensor, alpha: float, beta: float) -> gs.Tensor:
    return b.Mul(b.Tanh(b.Mul(x, F32(beta))), F32(alpha))


_FUNCTIONS: dict[str, tuple[Callable[..., gs.Tensor], tuple[float, ...]]] = {
    "affine": (_affine, (1.0, 0.0)),
    "elu": (lambda b, x, alpha: b.Elu(x, alpha=alpha), (1.0,)),
    "hardsigmoid": (lambda b, x, alpha, beta: b.HardSigmoid(x, alpha=alpha, beta=beta), (0.2, 0.5)),
    "leakyrelu": (lambda b, x, alpha: b.LeakyRelu(x, alpha=alpha), (0.01,)),
    "relu": (lambda b, x: b.Relu(x), ()),
    "scaledtanh": (_scaled_tanh, (1.0, 1.0)),
    "sigmoid": (lambda b, x: b.Sigmoid(x), ()),
    "softplus": (lambda b, x: b.Softplus(x), ()),
    "softsign": (lambda b, x: b.Softsign(x), ()),
    "tanh": (lambda b, x: b.Tanh(x), ()),
    "thresholdedrelu": (lambda b, x, alpha: b.ThresholdedRelu(x, alpha=alpha), (1.0,)),
}
"""Activations, in small letters, with what alpha and beta are unless they are given."""


def activations(s: NodeView, names: Sequence[str], by_cell: int) -> list[list[Activation]]:
    """The functions by these names, for each cell, with the parameters that the step lists.

    A `clip` cuts off what goes into a gate, not the second state of an LSTM.
    """
    given = [iter(s.attr(f"activation_{which}", [])) for which in ("alpha", "beta")]
    functions = [_activation(name, given) for name in names]
    limit = s.attr("clip", 0.0)
    if limit:
        gates = (place % by_cell < 2 for place in range(len(names)))
        functions = [
            _clipped(f, limit) if gate else f for f, gate in zip(functions, gates, strict=True)
        ]
    return [functions[i : i + by_cell] for i in range(0, len(names), by_cell)]


def _activation(name: str, given: Sequence[Iterator[float]]) -> Activation:
    function, defaults = _FUNCTIONS[name.lower()]
    parameters = [next(values, default) for values, default in zip(given, defaults, strict=False)]
    return lambda b, x: function(b, x, *parameters)


def _clipped(function: Activation, limit: float) -> Activation:
    return lambda b, x: function(b, b.Clip(x, F32(-limit), F32(limit)))
