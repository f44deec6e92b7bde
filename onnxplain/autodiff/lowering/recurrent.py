"""RNN, GRU and LSTM as a Scan over the steps of the sequence.

A Scan has a rule of its own, works for any length of sequence, and keeps the graph small: unrolled,
a bidirectional LSTM over 32 steps would be thousands of nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from onnxplain.autodiff.lowering import cells
from onnxplain.autodiff.lowering.cells import Cell
from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView
from onnxplain.model.model import Model
from onnxplain.transforms.builder import Builder

F32 = np.float32
_DIRECTIONS = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}
"""Along which way each part of the weights is used: 1 is from the end."""

_RULES = Rewrites()


def unfold_recurrences(model: Model) -> Model:
    """The model with a Scan for each direction of every RNN, GRU and LSTM."""
    return rewritten(model, _RULES)


class Kind(NamedTuple):
    """An operator: its cell, how many states it has, and its activations if none are named."""

    cell: Callable[..., list[gs.Tensor]]
    states: int
    activations: tuple[str, ...]


_KINDS = {
    "RNN": Kind(cells.rnn, 1, ("Tanh",)),
    "GRU": Kind(cells.gru, 1, ("Sigmoid", "Tanh")),
    "LSTM": Kind(cells.lstm, 2, ("Sigmoid", "Tanh", "Tanh")),
}


@_RULES.of("RNN", "GRU", "LSTM")
def _unfold(g: Rewriter, s: NodeView) -> list[gs.Tensor]:
    recurrence = Recurrence(g, s)
    made = [recurrence.along(place) for place in range(len(recurrence.directions))]
    steps, *states = zip(*made, strict=True)
    y = g.Concat(*(g.Unsqueeze(one, np.array([1])) for one in steps), axis=1)
    ends = [
        g.Concat(*(g.Unsqueeze(one, np.array([0])) for one in state), axis=0) for state in states
    ]
    if not recurrence.batch_first:
        return [y, *ends]
    return [
        g.Transpose(y, perm=[2, 0, 1, 3]),
        *(g.Transpose(end, perm=[1, 0, 2]) for end in ends),
    ]


class Recurrence:
    """An operator, with its tensors in the order (steps, batch, features)."""

    def __init__(self, g: Rewriter, s: NodeView) -> None:
        self.directions = _DIRECTIONS[s.attr("direction", "forward")]
        self.batch_first = bool(s.attr("layout", 0))
        self._g, self._s, self._kind = g, s, _KINDS[s.op]
        names = s.attr("activations", self._kind.activations * len(self.directions))
        self._activations = cells.activations(s, names, len(self._kind.activations))
        self._x = self._steps_first(s.x)
        self._initial = [self._steps_first(s.input(5 + i)) for i in range(self._kind.states)]
        lengths = s.input(4)
        self._counts = None if lengths is None else self._steps_that_count(lengths)

    def along(self, place: int) -> list[gs.Tensor]:
        """The results of all steps, (steps, batch, size), and the states after the last one."""
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

    def _cell(self, place: int) -> tuple[gs.Tensor, Cell]:
        """What the input adds to the gates in every step, and the cell that does the rest."""
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
        """One step: from states, a part of the input and, with lengths, whether it counts."""
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

    def _start(self, initial: gs.Tensor | None, place: int) -> gs.Tensor:
        """The states before the first step, (batch, size): zeros unless they are given."""
        g, given = self._g, self._part(initial, place)
        if given is not None:
            return given
        batch, size = g.Shape(self._x, start=1, end=2), np.array([self._s.attr("hidden_size")])
        return g.Expand(F32(0), g.Concat(batch, size, axis=0))

    def _steps_that_count(self, lengths: gs.Tensor) -> gs.Tensor:
        """Whether a step lies within the length of its sequence, (steps, batch, 1)."""
        g = self._g
        steps = g.Range(np.int64(0), g.Squeeze(g.Shape(self._x, start=0, end=1)), np.int64(1))
        numbers = g.Reshape(steps, np.array([-1, 1, 1]))
        ends = g.Reshape(g.Cast(lengths, to=TensorProto.INT64), np.array([1, -1, 1]))
        return g.Less(numbers, ends)

    def _steps_first(self, x: gs.Tensor | None) -> gs.Tensor | None:
        return self._g.Transpose(x, perm=[1, 0, 2]) if x is not None and self.batch_first else x

    def _part(self, x: gs.Tensor | None, place: int) -> gs.Tensor | None:
        """That of one direction."""
        return None if x is None else self._g.Gather(x, np.int64(place), axis=0)
