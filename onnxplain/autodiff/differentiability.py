"""The nodes that stop the gradient of a score, found without running the model."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import Gradients, NodeView
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rules
from onnxplain.autodiff.walk import Walk, nodes_between
from onnxplain.errors import GradientError
from onnxplain.model.graph_index import reads
from onnxplain.model.model import Model


@dataclass(frozen=True)
class Obstacle:
    """A node that stops the gradient.

    `op` starts with the domain if that is not the default one, as in `com.microsoft::Inverse`.
    `reason` is a sentence, or None where the operator just has no rule or a gradient of zero.
    """

    node: str
    op: str
    reason: str | None = None


@dataclass(frozen=True)
class Differentiability:
    """Whether the gradient of `score` reaches `source`, and which nodes stop it.

    `missing` are nodes between the two whose operator has no gradient rule. `cuts` are nodes with a
    gradient of zero everywhere, which stop it on every path. `target` is the tensor nearest to the
    score whose gradient reaches the source: the score itself where there are no cuts, None where
    there is no such tensor.
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


def differentiability(model: Model, lowered: Model, score: str, source: str) -> Differentiability:
    """Find all nodes that stop the gradient of `score` with respect to the tensor `source`.

    `lowered` is the model in the form that rules are written for, see `lower`. The rules are
    applied as `differentiate` does. Unlike `differentiate`, it
    continues after an operator without a rule, and collects all of them.

    Raises:
        ModelError: the types of its tensors cannot be inferred.
    """
    survey = _Survey(model, lowered, source)
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
    """Backward walks over the lowered model to `source`, and the nodes that stopped them.

    `dependent` are the tensors that depend on `source`.
    """

    def __init__(self, model: Model, lowered: Model, source: str) -> None:
        self._source = source
        self._index = lowered.index
        self._g = GradientBuilder.of_model(lowered)
        self._names = {*model.index.position, *model.index.inputs}
        self.rules = _Forgiving()
        self.dependent = lowered.index.dependent([source])

    def cuts(self, score: str) -> list[tuple[str, NodeView]]:
        """The nodes where gradients end, each with an input of it; empty if one arrives."""
        nodes = nodes_between(self._index, [self._source], [score])
        walk = Walk(self._g, nodes, [self._source], self.rules)
        walk.add(score, gs.Variable(score))
        return walk.cuts([self._source]) if walk.run()[0] is None else []

    def known(self, tensor: str) -> str:
        """The tensor if it is in the original model too, else the nearest such tensor before it."""
        while tensor not in self._names:
            node = self._index.nodes[self._index.position[tensor]]
            tensor = next(name for name in reads(node) if name in self.dependent)
        return tensor


class _Forgiving(Rules):
    """The standard rules; where one is missing or raises, the gradient is passed on unchanged.

    `missing` holds these nodes from last to first, by name and operator, with the message of the
    error, or None where the operator has no rule.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[tuple[str, str], tuple[NodeView, str | None]] = {}

    def gradients(self, g: GradientBuilder, step: NodeView, dys: Gradients) -> Gradients:
        """Gradients for the inputs of a node; never raises GradientError."""
        try:
            return STANDARD.gradients(g, step, dys)
        except GradientError as error:
            reason = None if STANDARD.find(step) is None else str(error)
            self.missing[step.name, step.op] = (step, reason)
            return [next(dy for dy in dys if dy is not None)] * len(step.inputs)


def _obstacle(step: NodeView, reason: str | None = None) -> Obstacle:
    return Obstacle(step.name, step.full_op, reason)
