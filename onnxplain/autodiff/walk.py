"""The backward pass: from the score to the wanted tensors, over only the nodes in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from onnx import NodeProto

from onnxplain.autodiff.gradient_builder import GradientBuilder, WalkContext
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.autodiff.table import ZERO, Rules
from onnxplain.errors import GradientError
from onnxplain.model.graph_index import GraphIndex
from onnxplain.model.operators import QUANTIZERS, SIZE_READERS


def nodes_between(
    index: GraphIndex, sources: Iterable[str], ends: Iterable[str]
) -> list[NodeProto]:
    """The nodes that compute tensors of `ends` from tensors of `sources`, in order."""
    return [index.nodes[i] for i in sorted(index.descendants(sources) & index.ancestors(ends))]


def backpropagate(
    g: GradientBuilder,
    nodes: Sequence[NodeProto],
    score: str,
    seed: Tensor,
    wanted: Sequence[str],
    rules: Rules,
    carried: frozenset[str] = frozenset(),
) -> list[Tensor]:
    """Append the nodes that compute Σ seed · ∂score/∂w for every w of `wanted`.

    `nodes` are those between `wanted` and the score, in order; for `carried` see `WalkContext`. The
    gradients are in the order of `wanted`.

    Raises:
        GradientError: an operator in between has no rule, or operators whose gradient is zero
            everywhere are on every path from the score to a wanted tensor.
    """
    walk = Walk(g, nodes, wanted, rules, carried)
    rules.hooks.check(walk.g, walk.on_the_way)
    walk.add(score, rules.hooks.start(walk.g, g.tensor(score), seed))
    gradients = dict(zip(wanted, walk.run(), strict=True))
    missing = [name for name, gradient in gradients.items() if gradient is None]
    if missing:
        raise GradientError(_cut_off(score, missing, walk.cuts(missing)))
    return [gradient for gradient in gradients.values() if gradient is not None]


class Walk:
    """One backward pass over `nodes`, those between `wanted` and where it starts, in order."""

    def __init__(
        self,
        g: GradientBuilder,
        nodes: Sequence[NodeProto],
        wanted: Sequence[str],
        rules: Rules,
        carried: frozenset[str] = frozenset(),
    ) -> None:
        self.steps = [NodeView(node, g.graph.opset, g.tensor) for node in nodes]
        self._wanted = wanted
        self._contributions: dict[str, list[Tensor]] = defaultdict(list)
        varying = [step for step in self.steps if step.op not in rules.hooks.constants]
        self._needed = frozenset(_of_values(g, varying, wanted))
        makers = {y.name: step for step in self.steps for y in step.outputs}
        self.g = g.during(WalkContext(rules, self._needed, carried, makers))

    @property
    def on_the_way(self) -> list[NodeView]:
        """The steps that a gradient can pass through, without those that compute only sizes."""
        return [step for step in self.steps if any(y.name in self._needed for y in step.outputs)]

    def add(self, tensor: str, gradient: Tensor) -> None:
        """Add a contribution to the gradient with respect to a tensor."""
        self._contributions[tensor].append(gradient)

    def run(self) -> list[Tensor | None]:
        """The gradients with respect to the wanted tensors; None where one has no gradient.

        Raises:
            GradientError: an operator in between has no rule.
        """
        for step in reversed(self.steps):
            dys = [self._arrived(y.name) for y in step.outputs]
            if all(dy is None for dy in dys):
                continue
            if step.op in ZERO and not step.domain:
                continue
            dxs = self.g.walk.rules.gradients(self.g, step, dys)
            for x, dx in zip(step.inputs, dxs, strict=False):
                if x is not None and dx is not None and x.name in self._needed:
                    self.add(x.name, dx)
        return [self._arrived(name) for name in self._wanted]

    def cuts(self, missing: Iterable[str]) -> list[tuple[str, NodeView]]:
        """After a run without gradients for `missing`, the steps where gradients end, in order.

        Each has with it a tensor that it reads, which could have a gradient. A gradient ends at a
        step with a gradient for an output but none for an input, or with integers computed from
        floats. Steps that read only sizes are listed only if there are no others.
        """
        reached = set(missing)
        ends = []
        for step in self.steps:
            before = [x.name for x in step.inputs if x is not None and x.name in reached]
            if before:
                reached.update(y.name for y in step.outputs)
            dry = [x for x in before if x in self._needed and not self._contributions[x]]
            if dry and any(self._contributions[y.name] or self._ends(y) for y in step.outputs):
                ends.append((dry[0], step))
        return [(x, step) for x, step in ends if step.op not in SIZE_READERS] or ends

    def _ends(self, tensor: Tensor) -> bool:
        return bool(tensor.name) and tensor.name not in self._needed

    def _arrived(self, tensor: str) -> Tensor | None:
        """The sum of all contributions, added to the graph once; None without any."""
        parts = self._contributions[tensor]
        if parts:
            parts[:] = [self.g.total(*parts)]
        return parts[0] if parts else None


def _of_values(g: GradientBuilder, steps: Iterable[NodeView], sources: Iterable[str]) -> set[str]:
    """Tensors that can have a gradient, computed from values of `sources`, with `sources`."""
    found = set(sources)
    for step in steps:
        read = {x.name for x in step.inputs if x is not None}
        if step.op in SIZE_READERS or found.isdisjoint(read):
            continue
        made = (y for y in step.outputs if step.op in QUANTIZERS or g.differentiable(y))
        found.update(y.name for y in made if y.name)
    return found


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
