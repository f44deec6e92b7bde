"""The walk: from the score back to what is wanted, over only the nodes in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import onnx_graphsurgeon as gs
from onnx import NodeProto

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.table import STANDARD, STRAIGHT_THROUGH, ZERO, Entry
from onnxplain.errors import GradientError
from onnxplain.model.operators import SIZE_READERS


def backpropagate(
    g: GradientBuilder,
    nodes: Sequence[NodeProto],
    score: str,
    seed: gs.Variable,
    wanted: Sequence[str],
) -> list[gs.Tensor]:
    """Append the nodes that compute Σ seed · ∂score/∂w for every w of `wanted`.

    `nodes` are those between `wanted` and the score, in order.

    Raises:
        GradientError: an operator in between has no rule, or operators whose gradient is zero
            everywhere cut the score off from what is wanted.
    """
    walk = Walk(g, nodes, wanted)
    g.rules.variant.check(g, walk.steps)
    walk.add(score, g.rules.variant.start(g, g.tensor(score), seed))
    gradients = dict(zip(wanted, walk.run(), strict=True))
    missing = [name for name, gradient in gradients.items() if gradient is None]
    if missing:
        raise GradientError(_cut_off(score, missing, walk.cuts(missing)))
    return [gradient for gradient in gradients.values() if gradient is not None]


class Walk:
    """One walk over `nodes`, those between what is wanted and what it starts from, in order."""

    def __init__(
        self, g: GradientBuilder, nodes: Sequence[NodeProto], wanted: Sequence[str]
    ) -> None:
        self._g = g
        self.steps = [NodeView(node, g.graph.opset, g.tensor) for node in nodes]
        self._wanted = wanted
        self._contributions: dict[str, list[gs.Tensor]] = defaultdict(list)
        passed = (
            y.name
            for step in self.steps
            for y in step.outputs
            if step.op in STRAIGHT_THROUGH or g.differentiable(y)
        )
        g.needed = frozenset([*wanted, *passed])
        g.makers = {y.name: step for step in self.steps for y in step.outputs}

    def add(self, tensor: str, gradient: gs.Tensor) -> None:
        """Start from a tensor, or add to what has reached it so far."""
        self._contributions[tensor].append(gradient)

    def run(self) -> list[gs.Tensor | None]:
        """The gradients with respect to what is wanted; None where nothing arrives.

        Raises:
            GradientError: an operator on the way has no rule.
        """
        for step in reversed(self.steps):
            dys = [self._arrived(y.name) for y in step.outputs]
            if all(dy is None for dy in dys):
                continue
            if step.op in ZERO and not step.domain:
                continue
            dxs = _apply(self._g, self._g.rules.find(step), step, dys)
            for x, dx in zip(step.inputs, dxs, strict=False):
                if x is not None and dx is not None and x.name in self._g.needed:
                    self.add(x.name, dx)
        return [self._arrived(name) for name in self._wanted]

    def cuts(self, missing: Iterable[str]) -> list[tuple[str, NodeView]]:
        """After a run that did not reach `missing`, the steps that end the ways there, in order.

        With each comes a tensor before it, the last one that has a gradient. A way ends where
        something arrives behind a step but nothing before it, or where integers are made of
        floats. Sizes count only where there is no other way.
        """
        reached = set(missing)
        ends = []
        for step in self.steps:
            before = [x.name for x in step.inputs if x is not None and x.name in reached]
            if before:
                reached.update(y.name for y in step.outputs)
            dry = [x for x in before if x in self._g.needed and not self._contributions[x]]
            if dry and any(self._contributions[y.name] or self._ends(y) for y in step.outputs):
                ends.append((dry[0], step))
        return [(x, step) for x, step in ends if step.op not in SIZE_READERS] or ends

    def _ends(self, tensor: gs.Variable) -> bool:
        return bool(tensor.name) and tensor.name not in self._g.needed

    def _arrived(self, tensor: str) -> gs.Tensor | None:
        """The sum of all contributions, made once."""
        parts = self._contributions[tensor]
        if len(parts) > 1:
            parts[:] = [self._g.Sum(*parts)]
        return parts[0] if parts else None


def standard_gradients(
    g: GradientBuilder, step: NodeView, dys: Sequence[gs.Tensor | None]
) -> Sequence[gs.Tensor | None]:
    """The true gradients of a node's inputs, for rules that replace the standard ones.

    Raises:
        GradientError: the operator has no rule.
    """
    return _apply(g, STANDARD.find(step), step, dys)


def _apply(
    g: GradientBuilder, entry: Entry | None, step: NodeView, dys: Sequence[gs.Tensor | None]
) -> Sequence[gs.Tensor | None]:
    if entry is None:
        raise GradientError(_no_rule(step))
    given = entry.rule(g, step, *dys)
    dxs = given if isinstance(given, tuple | list) else (given,)
    if not entry.broadcasts:
        return list(dxs)
    return [
        None if dx is None or x is None else g.sum_to(dx, x, step.y)
        for x, dx in zip(step.inputs, dxs, strict=False)
    ]


def _no_rule(step: NodeView) -> str:
    name = f"{step.domain}::{step.op}" if step.domain else step.op
    return (
        f"The operator {name} of node {step.name!r} has no gradient here: explain a layer "
        "behind it, or use a method without gradients, such as scorecam or occlusion."
    )


def _cut_off(score: str, missing: Sequence[str], cuts: Sequence[tuple[str, NodeView]]) -> str:
    wanted = ", ".join(map(repr, missing))
    if not cuts:
        return f"The score {score!r} does not depend on {wanted}: choose another layer."
    by = ", ".join(f"{step.op} {step.name!r}" for _, step in cuts[:3])
    targets = [before for before, _ in cuts if before not in missing]
    instead = f"explain {targets[-1]!r}, the tensor before it, as output, or " if targets else ""
    return (
        f"The score {score!r} is cut off from {wanted} by {by}, whose gradient is zero everywhere: "
        f"{instead}use a method without gradients."
    )
