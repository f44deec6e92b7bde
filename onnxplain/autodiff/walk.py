"""The walk: from the score back to what is wanted, over only the nodes in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import onnx_graphsurgeon as gs
from onnx import NodeProto

from onnxplain.autodiff.calculus import Calculus
from onnxplain.autodiff.registry import STRAIGHT_THROUGH, ZERO, Rules
from onnxplain.autodiff.step import Step
from onnxplain.errors import GradientError


def backpropagate(
    g: Calculus,
    nodes: Sequence[NodeProto],
    score: str,
    seed: gs.Variable,
    wanted: Sequence[str],
    rules: Rules,
) -> list[gs.Tensor]:
    """Append the nodes that compute Σ seed · ∂score/∂w for every w of `wanted`.

    `nodes` are those between `wanted` and the score, in order.

    Raises:
        GradientError: an operator in between has no rule, or operators whose gradient is zero
            everywhere cut the score off from what is wanted.
    """
    steps = [Step(node, g.graph.opset, g.tensor) for node in nodes]
    contributions: dict[str, list[gs.Tensor]] = defaultdict(list)
    contributions[score].append(seed)
    on_way = {
        *wanted,
        *(
            y.name
            for step in steps
            for y in step.outputs
            if step.op in STRAIGHT_THROUGH or g.differentiable(y)
        ),
    }
    cuts: list[Step] = []
    for step in reversed(steps):
        dys = [_accumulated(g, contributions[y.name]) for y in step.outputs]
        if all(dy is None for dy in dys):
            continue
        if step.op in ZERO and not step.domain:
            cuts.append(step)
            continue
        for x, dx in zip(step.inputs, _apply(g, step, dys, rules), strict=False):
            if x is not None and dx is not None and x.name in on_way:
                contributions[x.name].append(dx)
    gradients = {name: _accumulated(g, contributions[name]) for name in wanted}
    missing = [name for name, gradient in gradients.items() if gradient is None]
    if missing:
        raise GradientError(_cut_off(score, missing, cuts))
    return [gradient for gradient in gradients.values() if gradient is not None]


def _apply(
    g: Calculus, step: Step, dys: list[gs.Tensor | None], rules: Rules
) -> Sequence[gs.Tensor | None]:
    entry = rules.find(step)
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


def _accumulated(g: Calculus, parts: list[gs.Tensor]) -> gs.Tensor | None:
    """The sum of all contributions, made once."""
    if len(parts) > 1:
        parts[:] = [g.Sum(*parts)]
    return parts[0] if parts else None


def _no_rule(step: Step) -> str:
    name = f"{step.domain}::{step.op}" if step.domain else step.op
    return (
        f"The operator {name} of node {step.node.name!r} has no gradient here: explain a layer "
        "behind it, or use a method without gradients, such as scorecam or occlusion."
    )


def _cut_off(score: str, missing: Sequence[str], cuts: Sequence[Step]) -> str:
    wanted = ", ".join(map(repr, missing))
    if not cuts:
        return f"The score {score!r} does not depend on {wanted}: choose another layer."
    by = ", ".join(f"{step.op} {step.node.name!r}" for step in cuts[:3])
    return (
        f"The score {score!r} is cut off from {wanted} by {by}, whose gradient is zero everywhere: "
        f"explain {cuts[-1].x.name!r}, the tensor before it, or use a method without gradients."
    )
