"""What stands between a score and its gradient, found out without running the model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs
from onnx import NodeProto

import onnxplain.autodiff.rules  # noqa: F401 - enters the rules into the table
from onnxplain.autodiff.calculus import Calculus
from onnxplain.autodiff.prepare import prepare
from onnxplain.autodiff.registry import STANDARD, Entry, Rules
from onnxplain.autodiff.step import Step
from onnxplain.autodiff.walk import Walk
from onnxplain.errors import GradientError
from onnxplain.graph.constants import constant_value
from onnxplain.graph.model import Model
from onnxplain.graph.shapes import infer_specs
from onnxplain.graph.wiring import SIZE_READERS, reads


@dataclass(frozen=True)
class Obstacle:
    """A node that a gradient does not get through.

    `op` has its domain in front, as `com.microsoft::Inverse`, where that is not the default one.
    `reason` is a sentence where more is known than that there is no rule, or a gradient of zero.
    """

    node: str
    op: str
    reason: str | None = None


@dataclass(frozen=True)
class Differentiability:
    """How far the gradient of `score` comes on its way back to `source`.

    `missing` are nodes in between whose operator has no gradient here. `cuts` are those that end
    every way because their gradient is zero everywhere. `target` is the tensor nearest to the
    score that no such node cuts off from the source: the score itself where there are no cuts,
    None where there is none, or where the score does not depend on the source.
    """

    score: str
    source: str
    missing: tuple[Obstacle, ...]
    cuts: tuple[Obstacle, ...]
    target: str | None

    @property
    def complete(self) -> bool:
        """Whether the gradient of the score with respect to the source can be computed."""
        return self.target == self.score and not self.missing


def differentiability(model: Model, score: str, source: str) -> Differentiability:
    """Look for all that stops the gradient of `score` on its way back to the tensor `source`.

    The model is prepared, and rules are asked for gradients as by `differentiate`; but where that
    would stop at the first operator without one, this takes note and goes on.

    Raises:
        GradientError: the model cannot be prepared.
    """
    survey = _Survey(model, source)
    target, cuts = score, list[Step]()
    while target != source and (found := survey.cuts(target)):
        target, cuts = survey.read_by(found[0]), [*found, *cuts]
    reaches = target != source and survey.depends(target)
    return Differentiability(
        score,
        source,
        tuple(_obstacle(step, reason) for step, reason in survey.missing()),
        tuple(_obstacle(step) for step in cuts),
        target if reaches else None,
    )


class _Survey:
    """Walks over a prepared model back to one tensor, and what stopped them."""

    def __init__(self, model: Model, source: str) -> None:
        prepared = prepare(model)
        self._wiring = prepared.wiring
        self._rules = _Forgiving()
        self._g = Calculus(
            prepared.opset,
            infer_specs(prepared.proto),
            lambda name: constant_value(prepared, name),
            self._rules,
        )
        self._source = source
        self._known = {*model.wiring.position, *model.wiring.inputs}
        nodes = self._wiring.descendants([source], without=SIZE_READERS)
        self._dependent = {source, *(y for i in nodes for y in self._wiring.nodes[i].output)}

    def depends(self, tensor: str) -> bool:
        """Whether values of the source flow into a tensor."""
        return tensor in self._dependent

    def missing(self) -> list[tuple[Step, str | None]]:
        """Nodes whose operator has no rule, or one that refuses, and then why; in order."""
        return list(self._rules.missing.values())[::-1]

    def cuts(self, score: str) -> list[Step]:
        """Where the ways of the gradient end, in order; nothing if it arrives."""
        nodes = [self._wiring.nodes[i] for i in self._wiring.between(self._source, score)]
        passed = self._rules.passed = {score}
        walk = Walk(self._g, nodes, [self._source])
        walk.add(score, gs.Variable(score))
        if walk.run()[0] is not None:
            return []
        ends: list[Step] = []
        for node in reversed(nodes):
            step = Step(node, self._g.graph.opset, self._g.tensor)
            ways = self._ways(node)
            if passed.isdisjoint(node.output) or not passed.isdisjoint(ways):
                continue
            if any(self._g.differentiable(self._g.tensor(x)) for x in ways):
                ends.append(step)
            else:  # only integers are read and made: the way has ended where they were made
                passed.update(ways)
        return ends[::-1]

    def read_by(self, step: Step) -> str:
        """A tensor before a step, on the way from the source; one that the file has too."""
        name = self._ways(step.node)[0]
        while name not in self._known:
            name = self._ways(self._wiring.nodes[self._wiring.position[name]])[0]
        return name

    def _ways(self, node: NodeProto) -> list[str]:
        return [name for name in reads(node) if name in self._dependent]


class _Forgiving(Rules):
    """The standard rules, where one that is missing or refuses passes the gradient on as it is.

    `missing` are the steps of those, by node and operator, with the reason. `passed` are the
    tensors that a gradient was found for, if only as a placeholder.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[tuple[str, str], tuple[Step, str | None]] = {}
        self.passed: set[str] = set()

    def find(self, step: Step) -> Entry:
        """A rule for any node."""
        entry = STANDARD.find(step)
        rule = functools.partial(self._gradients, entry)
        return Entry(rule, 1, broadcasts=entry is not None and entry.broadcasts)

    def _gradients(
        self, entry: Entry | None, g: Calculus, step: Step, *dys: gs.Tensor | None
    ) -> Sequence[gs.Tensor | None]:
        dxs = self._tried(entry, g, step, *dys)
        found = zip(step.inputs, dxs, strict=False)
        self.passed.update(x.name for x, dx in found if x is not None and dx is not None)
        return dxs

    def _tried(
        self, entry: Entry | None, g: Calculus, step: Step, *dys: gs.Tensor | None
    ) -> Sequence[gs.Tensor | None]:
        reason = None
        if entry is not None:
            try:
                given = entry.rule(g, step, *dys)
            except GradientError as error:
                reason = str(error)
            else:
                return given if isinstance(given, tuple | list) else [given]
        self.missing[step.node.name or step.node.output[0], step.op] = (step, reason)
        return [next(dy for dy in dys if dy is not None)] * len(step.inputs)


def _obstacle(step: Step, reason: str | None = None) -> Obstacle:
    op = f"{step.domain}::{step.op}" if step.domain else step.op
    return Obstacle(step.node.name or step.node.output[0], op, reason)
