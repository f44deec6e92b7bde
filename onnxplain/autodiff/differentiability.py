"""What stops the gradient of a score, found without running the model."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.node_view import Gradients, NodeView
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.autodiff.walk import Walk
from onnxplain.errors import GradientError
from onnxplain.model.graph_index import reads
from onnxplain.model.model import Model


@dataclass(frozen=True)
class Obstacle:
    """A node that a gradient does not pass.

    `op` starts with its domain, as `com.microsoft::Inverse`, where that is not the default one.
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

    The model is lowered, and rules are asked for gradients as by `differentiate`; but where that
    would stop at the first operator without one, this takes note and goes on.

    Raises:
        GradientError: the model cannot be lowered.
        ModelError: the types of its tensors cannot be inferred.
    """
    survey = _Survey(model, source)
    target: str | None = score if score in survey.dependent else None
    cuts: list[NodeView] = []
    while target is not None and (found := survey.cuts(target)):
        cuts = [*(step for _, step in found), *cuts]
        before = [survey.known(tensor) for tensor, _ in found]
        target = next((tensor for tensor in reversed(before) if tensor != source), None)
    return Differentiability(
        score,
        source,
        tuple(_obstacle(step, reason) for step, reason in reversed(survey.rules.missing.values())),
        tuple(_obstacle(step) for step in cuts),
        target,
    )


class _Survey:
    """Walks over a lowered model back to one tensor, and what stopped them.

    `dependent` are the tensors that depend on that one.
    """

    def __init__(self, model: Model, source: str) -> None:
        lowered = lower(model)
        self._source = source
        self._index = lowered.index
        self._g = GradientBuilder.of_model(lowered)
        self._names = {*model.index.position, *model.index.inputs}
        self.rules = _Forgiving()
        self.dependent = lowered.index.dependent([source])

    def cuts(self, score: str) -> list[tuple[str, NodeView]]:
        """The steps where gradients end, with what they read; none if one arrives."""
        between = self._index.descendants([self._source]) & self._index.ancestors([score])
        nodes = [self._index.nodes[i] for i in sorted(between)]
        walk = Walk(self._g, nodes, [self._source], self.rules)
        walk.add(score, gs.Variable(score))
        return walk.cuts([self._source]) if walk.run()[0] is None else []

    def known(self, tensor: str) -> str:
        """The tensor if the file has it too, else the nearest before it that the file has."""
        while tensor not in self._names:
            node = self._index.nodes[self._index.position[tensor]]
            tensor = next(name for name in reads(node) if name in self.dependent)
        return tensor


class _Forgiving(Rules):
    """The standard rules, where one that is missing or refuses passes the gradient on as it is.

    `missing` are the steps of those, from the last to the first, with the reason if there is more
    than that the operator has no rule; by node and operator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[tuple[str, str], tuple[NodeView, str | None]] = {}

    def gradients(self, g: GradientBuilder, step: NodeView, dys: Gradients) -> Gradients:
        """Some gradient for every input of any node."""
        try:
            return STANDARD.gradients(g, step, dys)
        except GradientError as error:
            reason = None if STANDARD.find(step) is None else str(error)
            self.missing[step.name, step.op] = (step, reason)
            return [next(dy for dy in dys if dy is not None)] * len(step.inputs)


def _obstacle(step: NodeView, reason: str | None = None) -> Obstacle:
    return Obstacle(step.name, step.full_op, reason)
