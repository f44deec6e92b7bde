"""RNN, GRU and LSTM as a Scan over the steps of the sequence.

A Scan has a gradient rule, works for any sequence length, and keeps the graph small: a
bidirectional LSTM unrolled over 32 steps would have thousands of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from onnxplain.autodiff.lowering.fused import ACTIVATIONS
from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.model.model import Model
from onnxplain.transforms.builder import Builder

F32 = np.float32
_DIRECTIONS = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}
"""The direction of each part of the weights: 0 from the first step, 1 from the last."""

_RULES = Rewrites()


def unfold_recurrences(model: Model) -> Model:
    """The model with a Scan for each direction of every RNN, GRU and LSTM."""
    return rewritten(model, _RULES)


Activation = Callable[[Builder, Tensor], Tensor]


@dataclass(frozen=True)
class Cell:
    """The parameters of a step of one direction.

    `weights`, (size, gates · size), multiply the state for all gates. `bias` is the recurrent bias
    where it cannot be added to the input bias, else None. `peepholes`, (3, size), are for the
    input, output and forget gates.
    """

    step: NodeView
    activations: Sequence[Activation]
    weights: Tensor
    bias: Tensor | None
    peepholes: Tensor | None


def _rnn(b: Builder, cell: Cell, x: Tensor, h: Tensor) -> list[Tensor]:
    """The new state, (batch, size).

    `x`, (batch, gates · size), is input times input weights plus biases; `h` is the old state.
    """
    (f,) = cell.activations
    return [f(b, b.Add(x, b.MatMul(h, cell.weights)))]


def _gru(b: Builder, cell: Cell, x: Tensor, h: Tensor) -> list[Tensor]:
    """As `_rnn`; the gates are update, reset and hidden."""
    (f, g), size = cell.activations, cell.step.attr("hidden_size")
    parts = np.array([2 * size, size])
    x_gates, x_new = b.many("Split", 2, x, parts, axis=-1)
    linear = cell.step.attr("linear_before_reset", 0)
    if linear:
        share = b.MatMul(h, cell.weights)
        share = share if cell.bias is None else b.Add(share, cell.bias)
        h_gates, h_new = b.many("Split", 2, share, parts, axis=-1)
    else:
        to_gates, to_new = b.many("Split", 2, cell.weights, parts, axis=-1)
        h_gates = b.MatMul(h, to_gates)
    update, reset = b.many("Split", 2, f(b, b.Add(x_gates, h_gates)), axis=-1, num_outputs=2)
    h_new = b.Mul(reset, h_new) if linear else b.MatMul(b.Mul(reset, h), to_new)
    new = g(b, b.Add(x_new, h_new))
    return [b.Add(b.Mul(b.Sub(F32(1), update), new), b.Mul(update, h))]


def _lstm(b: Builder, cell: Cell, x: Tensor, h: Tensor, c: Tensor) -> list[Tensor]:
    """As `_rnn`, with a cell state `c`; the gates are input, output, forget and cell."""
    (f, g, out), peepholes = cell.activations, cell.peepholes
    p = [] if peepholes is None else b.many("Split", 3, peepholes, axis=0, num_outputs=3)

    def peeping(gate: Tensor, place: int, state: Tensor) -> Tensor:
        return b.Add(gate, b.Mul(p[place], state)) if p else gate

    gates = b.Add(x, b.MatMul(h, cell.weights))
    i, o, forget, new = b.many("Split", 4, gates, axis=-1, num_outputs=4)
    i = f(b, peeping(i, 0, c))
    coupled = cell.step.attr("input_forget", 0)
    kept = b.Sub(F32(1), i) if coupled else f(b, peeping(forget, 2, c))
    c = b.Add(b.Mul(kept, c), b.Mul(i, g(b, new)))
    return [b.Mul(f(b, peeping(o, 1, c)), out(b, c)), c]


def _affine(b: Builder, x: Tensor, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    return b.Add(b.Mul(x, F32(alpha)), F32(beta))


def _scaled_tanh(b: Builder, x: Tensor, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    return b.Mul(b.Tanh(b.Mul(x, F32(beta))), F32(alpha))


_COMPOSED: dict[str, Callable[..., Tensor]] = {"Affine": _affine, "ScaledTanh": _scaled_tanh}
"""Activations that are not operators of ONNX."""

_NAMES = {name.lower(): name for name in (*ACTIVATIONS, *_COMPOSED)}


def _by_cell(s: NodeView, names: Sequence[str], by_cell: int) -> list[list[Activation]]:
    """The activation functions of each cell, with the parameters of the step's attributes.

    The attribute `clip` limits the inputs of gates, but not the cell state of an LSTM.
    """
    given = [iter(s.attr(f"activation_{which}", [])) for which in ("alpha", "beta")]
    limits = [s.attr("clip", 0.0) if i % by_cell < 2 else 0.0 for i in range(len(names))]
    functions = [_activation(name, given, limit) for name, limit in zip(names, limits, strict=True)]
    return [functions[i : i + by_cell] for i in range(0, len(names), by_cell)]


def _activation(name: str, given: Sequence[Iterator[float]], limit: float) -> Activation:
    """The function, of inputs from -`limit` to `limit`; 0 means no limit."""
    op = _NAMES[name.lower()]
    attributes = zip(ACTIVATIONS.get(op, ("alpha", "beta")), given, strict=False)
    parameters = {name: value for name, values in attributes for value in islice(values, 1)}

    def activation(b: Builder, x: Tensor) -> Tensor:
        clipped = b.Clip(x, F32(-limit), F32(limit)) if limit else x
        if op in _COMPOSED:
            return _COMPOSED[op](b, clipped, **parameters)
        return b.many(op, 1, clipped, **parameters)[0]

    return activation


class Kind(NamedTuple):
    """An operator: its cell, its number of states, and its default activations."""

    cell: Callable[..., list[Tensor]]
    states: int
    activations: tuple[str, ...]


_KINDS = {
    "RNN": Kind(_rnn, 1, ("Tanh",)),
    "GRU": Kind(_gru, 1, ("Sigmoid", "Tanh")),
    "LSTM": Kind(_lstm, 2, ("Sigmoid", "Tanh", "Tanh")),
}


@_RULES.of("RNN", "GRU", "LSTM")
def _unfold(g: Rewriter, s: NodeView) -> list[Tensor]:
    recurrence = Recurrence(g, s)
    made = [recurrence.along(place) for place in range(len(recurrence.directions))]
    steps, *states = zip(*made, strict=True)
    y = g.Concat(*(g.Unsqueeze(one, [1]) for one in steps), axis=1)
    ends = [g.Concat(*(g.Unsqueeze(one, [0]) for one in state), axis=0) for state in states]
    if not recurrence.batch_first:
        return [y, *ends]
    return [g.Transpose(y, perm=[2, 0, 1, 3]), *(g.Transpose(end, perm=[1, 0, 2]) for end in ends)]


class Recurrence:
    """An RNN, GRU or LSTM node, with its tensors in the order (steps, batch, features)."""

    def __init__(self, g: Rewriter, s: NodeView) -> None:
        self.directions = _DIRECTIONS[s.attr("direction", "forward")]
        self.batch_first = bool(s.attr("layout", 0))
        self._g, self._s, self._kind = g, s, _KINDS[s.op]
        names = s.attr("activations", self._kind.activations * len(self.directions))
        self._activations = _by_cell(s, names, len(self._kind.activations))
        self._x = self._steps_first(s.x)
        self._initial = [self._steps_first(s.input(5 + i)) for i in range(self._kind.states)]
        lengths = s.input(4)
        self._counts = None if lengths is None else self._steps_that_count(lengths)

    def along(self, place: int) -> list[Tensor]:
        """Results of direction number `place`, (steps, batch, size), and its last states."""
        g, backwards = self._g, self.directions[place]
        share, cell = self._cell(place)
        initial = [self._start(t, place) for t in self._initial]
        stacks = [share] if self._counts is None else [share, self._counts]
        *ends, y = g.many(
            "Scan",
            len(initial) + 1,
            *initial,
            *stacks,
            body=self._body(cell),
            num_scan_inputs=len(stacks),
            scan_input_directions=[backwards] * len(stacks),
            scan_output_directions=[backwards],
        )
        return [y, *ends]

    def _cell(self, place: int) -> tuple[Tensor, Cell]:
        """Input times input weights plus biases, for all steps, and the parameters of the cell."""
        g, s = self._g, self._s
        w, r, biases, peepholes = (self._part(s.input(i), place) for i in (1, 2, 3, 7))
        share = g.MatMul(self._x, g.Transpose(w, perm=[1, 0]))
        inside = None
        if biases is not None:
            of_input, of_state = g.many("Split", 2, biases, axis=0, num_outputs=2)
            share = g.Add(share, of_input)
            if s.attr("linear_before_reset", 0):
                inside = of_state
            else:
                share = g.Add(share, of_state)
        weights = g.Transpose(r, perm=[1, 0])
        return share, Cell(s, self._activations[place], weights, inside, peepholes)

    def _body(self, cell: Cell) -> GraphProto:
        """The body of the Scan: its inputs are states, `x` of `_rnn`, and a mask with lengths."""
        b = Builder(gs.Graph(opset=self._g.graph.opset), self._g.body_prefix())
        states = [b.argument("state") for _ in self._initial]
        x, counts = b.argument("input"), b.argument("counts")
        made = self._kind.cell(b, cell, x, *states)
        y = made[0]
        inputs = [*states, x]
        if self._counts is not None:
            y = b.Where(counts, y, F32(0))
            made = [b.Where(counts, new, old) for new, old in zip(made, states, strict=True)]
            inputs.append(counts)
        results = [b.Identity(result) for result in (*made, y)]
        written: GraphProto = gs.export_onnx(b.graph, do_type_check=False).graph
        written.name = "step"
        written.input.extend(ValueInfoProto(name=tensor.name) for tensor in inputs)
        shape = [None, self._s.attr("hidden_size")]
        written.output.extend(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, shape)
            for tensor in results
        )
        return written

    def _start(self, initial: Tensor | None, place: int) -> Tensor:
        """The state before the first step, (batch, size): zeros unless it is given."""
        g, given = self._g, self._part(initial, place)
        if given is not None:
            return given
        batch, size = g.Shape(self._x, start=1, end=2), np.array([self._s.attr("hidden_size")])
        return g.Expand(F32(0), g.Concat(batch, size, axis=0))

    def _steps_that_count(self, lengths: Tensor) -> Tensor:
        """A mask of the steps within the length of each sequence, (steps, batch, 1)."""
        g = self._g
        steps = g.Range(np.int64(0), g.Squeeze(g.Shape(self._x, start=0, end=1)), np.int64(1))
        numbers = g.Reshape(steps, [-1, 1, 1])
        ends = g.Reshape(g.Cast(lengths, to=TensorProto.INT64), [1, -1, 1])
        return g.Less(numbers, ends)

    def _steps_first(self, x: Tensor | None) -> Tensor | None:
        return self._g.Transpose(x, perm=[1, 0, 2]) if x is not None and self.batch_first else x

    def _part(self, x: Tensor | None, place: int) -> Tensor | None:
        """The part of a tensor for direction number `place`."""
        return None if x is None else self._g.Gather(x, np.int64(place), axis=0)
