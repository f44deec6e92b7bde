"""If, Loop and Scan.

The gradient of an If is an If whose branches hold the gradients of its branches. A Loop or Scan is
run again, to save the states before each iteration. Then a Scan goes back over the iterations.
Branches and bodies are computed again there, because their tensors cannot be read from outside.

ONNX Runtime cannot run a Scan of length 0, so a loop must have at least one iteration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from onnx import GraphProto, ValueInfoProto, helper, numpy_helper

from onnxplain.autodiff.body import Body
from onnxplain.autodiff.rule import GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.errors import GradientError
from onnxplain.tensors import TensorSpec


class Stack(NamedTuple):
    """The values of a tensor of the body in all iterations, stacked along an axis.

    `direction` is 0 where the first iteration has index 0, and 1 where it has the last index.
    """

    name: str
    values: Tensor
    axis: int = 0
    direction: int = 0


class State(NamedTuple):
    """A tensor that each iteration of a loop gets from the one before it.

    `before` and `after` are its names at the start and the end of the body, `saved` its stacked
    values at the start of all iterations.
    """

    before: str
    after: str
    initial: Tensor
    saved: Tensor


@vjp("If")
def branch(g: GradientBuilder, s: NodeView, *dys: Tensor | None) -> Gradients:
    (condition,), outside = _cut(s.inputs, 1)
    wanted = _needed(g, outside)
    bodies, gradients = {}, []
    for name in ("then_branch", "else_branch"):
        bodies[name] = Body(g, s.attrs[name])
        results = zip(_names(s.attrs[name].output), dys, strict=True)
        arriving = [(result, dy) for result, dy in results if dy is not None]
        gradients.append(dict(zip(wanted, bodies[name].gradients(arriving, wanted), strict=True)))
    found = [name for name in wanted if any(by[name] is not None for by in gradients)]
    if not found:
        return []
    branches = {
        branch: body.graph([], [by[name] for name in found], found)
        for (branch, body), by in zip(bodies.items(), gradients, strict=True)
    }
    made = dict(zip(found, g.many("If", len(found), condition, **branches), strict=True))
    return [None, *(made.get(x.name) for x in outside)]


@vjp("Scan")
def scan(g: GradientBuilder, s: NodeView, *dys: Tensor | None) -> Gradients:
    graph, count = s.attrs["body"], len(s.node.input) - s.attrs["num_scan_inputs"]
    inputs, outside = _cut(s.inputs, len(s.node.input))
    (initial, elements), (before, parts) = (_cut(x, count) for x in (inputs, _names(graph.input)))
    after, results = _cut(_names(graph.output), count)
    how = {**s.attrs_without("scan_output"), "body": _saving(g, graph, count, before)}
    saved = g.many("Scan", 2 * count, *inputs, **how)[count:] if count else []
    states = [State(*of) for of in zip(before, after, initial, saved, strict=True)]
    read = _stacks(s, "scan_input", parts, elements)
    specs = [_renamed(g, stack.values, stack.name, stack.axis) for stack in read]
    made = _stacks(s, "scan_output", results, dys[count:])
    found = _back(g, graph, states, dys, read, specs, made, _needed(g, outside))
    return [found.get(name) for name in (*before, *parts, *(x.name for x in outside))]


@vjp("Loop")
def loop(g: GradientBuilder, s: NodeView, *dys: Tensor | None) -> Gradients:
    inputs, outside = _cut(s.inputs, len(s.node.input))
    initial, graph = inputs[2:], GraphProto()
    graph.CopyFrom(s.attrs["body"])
    number, proceed, *before = _names(graph.input)
    after, results = _cut(_names(graph.output)[1:], len(initial))
    saving = _saving(g, graph, 1 + len(initial), [number, *before])
    numbers, *saved = g.many("Loop", 2 * len(initial) + 1, *inputs, body=saving)[len(initial) :]
    # The condition was true for every iteration that ran.
    graph.initializer.append(numpy_helper.from_array(np.array(True), proceed))
    states = [State(*of) for of in zip(before, after, initial, saved, strict=True)]
    read, specs = [Stack(number, numbers)], [TensorSpec(number, np.dtype(np.int64), ())]
    made = _stacks(s, "scan_output", results, dys[len(initial) :])
    found = _back(g, graph, states, dys, read, specs, made, _needed(g, outside))
    return [None, None, *(found.get(name) for name in (*before, *(x.name for x in outside)))]


def _back(
    g: GradientBuilder,
    graph: GraphProto,
    states: Sequence[State],
    dys: Sequence[Tensor | None],
    read: Sequence[Stack],
    specs: Sequence[TensorSpec],
    made: Sequence[Stack],
    outside: Sequence[str],
) -> dict[str, Tensor]:
    """The gradients from all iterations, by the names of tensors in the body.

    They are with respect to the states before the first iteration, to the needed tensors of `read`,
    and to tensors `outside`, summed over the iterations. Tensors without a gradient are left out.
    `dys` are the gradients of the last states, `specs` the types of the tensors of `read`, and
    `made` the gradients of the stacked outputs.
    """
    body = Body(g, graph, [*(_renamed(g, x.initial, x.before) for x in states), *specs])
    h, read = body.g, [*(Stack(x.before, x.saved) for x in states), *read]
    pairs = zip(states, dys, strict=False)
    moving = [(x, dy) for x, dy in pairs if g.differentiable(x.initial)]
    last = [g.zeros_like(x.initial) if dy is None else dy for x, dy in moving]
    before, after = [x.before for x, _ in moving], [x.after for x, _ in moving]
    adjoints, sums, arriving = (
        [h.argument(stem) for _ in these]
        for stem, these in (("adjoint", last), ("sum", outside), ("arriving", made))
    )
    starts = [*after, *_names(made)]
    elements = [stack for stack in read if stack.values.name in g.walk.needed]
    wanted = [*before, *outside, *_names(elements)]
    found = body.gradients(list(zip(starts, [*adjoints, *arriving], strict=True)), wanted)
    reached = [name for name, gradient in zip(wanted, found, strict=True) if gradient is not None]
    shares = slice(len(last), len(last) + len(outside))
    found[shares] = [
        total if share is None else h.Add(total, share)
        for total, share in zip(sums, found[shares], strict=True)
    ]
    names = [*_names([*adjoints, *sums]), *_names(read), *_names(arriving)]
    results = g.many(
        "Scan",
        len(wanted),
        *last,
        *(g.zeros_like(g.tensor(name)) for name in outside),
        *(stack.values for stack in (*read, *made)),
        body=body.graph(names, found, wanted),
        num_scan_inputs=len(read) + len(made),
        **_places("scan_input", [*read, *made]),
        **_places("scan_output", elements),
    )
    gradients = dict(zip(wanted, results, strict=True))
    return {name: gradients[name] for name in reached}


def _saving(g: GradientBuilder, graph: GraphProto, kept: int, names: Sequence[str]) -> GraphProto:
    """A body with its first `kept` outputs and then copies of its inputs `names`."""
    saving = GraphProto()
    saving.CopyFrom(graph)
    copies = [g.argument("saved").name for _ in names]
    nodes = zip(names, copies, strict=True)
    saving.node.extend(helper.make_node("Identity", [name], [copy]) for name, copy in nodes)
    del saving.output[kept:]
    saving.output.extend(ValueInfoProto(name=copy) for copy in copies)
    return saving


def _stacks(
    s: NodeView, kind: str, names: Sequence[str], values: Sequence[Tensor | None]
) -> list[Stack]:
    """The stacks that a Scan reads or makes (`kind`); values that are None are left out."""
    axes, directions = (s.attr(f"{kind}_{what}") for what in ("axes", "directions"))
    zeros = [0] * len(names)
    places = zip(names, values, axes or zeros, directions or zeros, strict=True)
    return [Stack(name, x, *place) for name, x, *place in places if x is not None]


def _places(kind: str, stacks: Sequence[Stack]) -> dict[str, list[int]]:
    """Axes and directions, as attributes of a Scan in the opposite direction."""
    if not stacks:
        return {}
    return {
        f"{kind}_axes": [stack.axis for stack in stacks],
        f"{kind}_directions": [1 - stack.direction for stack in stacks],
    }


def _renamed(g: GradientBuilder, x: Tensor, name: str, axis: int | None = None) -> TensorSpec:
    """The type and shape of a tensor under another name, without the stack's `axis`."""
    spec = g.spec(x)
    if spec is None or spec.dtype.kind == "O":
        raise GradientError(
            f"The type of {x.name!r}, which a loop reads, is not that of a tensor or cannot be "
            "inferred, and its gradient needs it: explain a layer after the loop, or use a "
            "method without gradients."
        )
    dims = spec.shape
    if dims is not None and axis is not None:
        axis %= len(dims)
        dims = dims[:axis] + dims[axis + 1 :]
    return replace(spec, name=name, shape=dims)


def _needed(g: GradientBuilder, outside: Sequence[Tensor]) -> list[str]:
    return [x.name for x in outside if x.name in g.walk.needed]


def _names(things: Iterable[Any]) -> list[str]:
    return [thing.name for thing in things]


def _cut(things: Sequence[Any], count: int) -> tuple[Sequence[Any], Sequence[Any]]:
    return things[:count], things[count:]
