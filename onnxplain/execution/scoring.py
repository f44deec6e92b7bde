"""A graph stage: scores of targets, and their derivatives, which backpropagation starts from."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, TensorProto, helper

from onnxplain.autodiff.differentiate import GRADIENT, with_gradients
from onnxplain.execution.answers import Reading
from onnxplain.execution.points import padded_count
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.targets import Target
from onnxplain.tensors import Array
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended, renamed

BATCH = "batch"
"""The name of the batch axis of a graph's inputs, if the graph takes any batch size."""


@dataclass(frozen=True, eq=False)
class Scored:
    """How the targets of a sample are scored in a graph.

    `shape` is the shape of the answer tensor for one sample, (1, ...). The graph can be used for
    all samples whose targets have, one by one, the same families as `targets`. Its number of
    targets is the next one in `points.PADDED`: unused places are padded with the last target.
    """

    reading: Reading
    shape: Shape
    targets: Sequence[Target]

    @property
    def count(self) -> int:
        """Number of targets in the graph."""
        return padded_count(len(self.targets))

    @functools.cached_property
    def ranks(self) -> int:
        """The largest rank that the graph can find; a parameter of −2 means rank 2."""
        given = (value for t in self.targets for value in t.given(*self.shapes).values())
        least = (int(value.min(initial=0)) for value in given if value.dtype.kind == "i")
        return max(self.count, -min(least, default=0))

    def target(self, place: int) -> Target:
        """The target at a place."""
        return self.targets[min(place, len(self.targets) - 1)]

    @functools.cached_property
    def key(self) -> Hashable:
        """Samples with equal keys can share a graph."""
        families = (self.target(t).family(*self.shapes) for t in range(self.count))
        return self.reading.key, self.shape, self.ranks, *families

    @property
    def shapes(self) -> list[Shape]:
        """Shapes of the arrays that targets read, for one sample, without the batch axis."""
        return self.reading.shapes(self.shape)

    def feeds(self, targets: Sequence[Sequence[Target]]) -> dict[str, Array]:
        """The feeds with the parameters of each sample's targets, by the input's name."""
        fed: dict[str, list[Array]] = {}
        for own in targets:
            for t in range(self.count):
                given = own[min(t, len(own) - 1)].given(*self.shapes)
                for name, value in given.items():
                    fed.setdefault(parameter(t, name), []).append(value)
        return {name: np.array(values) for name, values in fed.items()}


def with_seeds(model: Model, scored: Scored, batch: int | None, prefix: str = PREFIX) -> Model:
    """The model with the derivative of each target's score with respect to the answer tensor.

    `seed_tensor(t, prefix)` names the derivative for target t, in the shape of the answer tensor.
    `batch` is the batch size if the graph takes only that size, else None. Parameters of targets
    become inputs, unless the model already computes them. The outputs do not change.

    Raises:
        TargetError: the reading has no such scores.
    """
    answer = answer_tensor(prefix)
    cast = helper.make_node("Cast", [scored.reading.tensor], [answer], answer, to=TensorProto.FLOAT)
    added = GraphProto(node=[cast])
    for t in range(scored.count):
        added.MergeFrom(_seed(scored, t, batch, model.opset, prefix))
    known = {answer, *model.index.position}
    for value in [value for value in added.input if value.name in known]:
        added.input.remove(value)
    return appended(model, added)


def answer_tensor(prefix: str = PREFIX) -> str:
    """The name of the answer tensor cast to float; the tensor itself may hold integers."""
    return f"{prefix}answer"


def seed_tensor(target: int, prefix: str = PREFIX) -> str:
    """The name of the derivative of a target's score with respect to the answer tensor."""
    return f"{prefix}seed/{target}"


def _seed(scored: Scored, t: int, batch: int | None, opset: int, prefix: str) -> GraphProto:
    """The nodes from the answer to the seed of one target, with their inputs.

    They are made in a separate, small graph, so that differentiating them is fast.
    """
    shape, target = scored.shape[1:], scored.target(t)
    first: int | str = batch or BATCH
    graph = gs.Graph(opset=opset)
    g = Builder(graph, f"{prefix}score/{t}/")
    xp = GraphNamespace(g, scored.ranks)
    name, own = answer_tensor(prefix), prefix.removeprefix(PREFIX)
    answer = g.input(answer_tensor(own), [first, *shape])
    given = {
        key: xp.array(
            g.input(parameter(t, key, own), [first, *value.shape], value.dtype),
            [None, *value.shape],
        )
        for key, value in target.given(*scored.shapes).items()
    }
    score = scored.reading.score(xp, target, xp.array(answer, [None, *shape]), **given)
    target.check_score(score.dims)
    ones = g.Expand(np.float32(1), g.Shape(score.tensor))
    graph.outputs = [score.tensor, ones]
    apart = Model(gs.export_onnx(graph, do_type_check=False), folder=None, path=None, sha256="")
    seed = with_gradients(
        apart, score.tensor.name, [name], [ones.name], prefix=f"{prefix}score/{t}/by/"
    ).proto.graph
    result = seed_tensor(t, prefix)
    seed.node.add(op_type="Identity", input=[GRADIENT + name], output=[result])
    # The gradient of each target needs another name.
    names = {GRADIENT + name: f"{result}/gradient"}
    nodes = [renamed(node, names, f"{result}/") for node in seed.node]
    return GraphProto(node=nodes, initializer=seed.initializer, input=seed.input)


def parameter(t: int, name: str, prefix: str = PREFIX) -> str:
    """The name of the input for a parameter of a target's formula."""
    return f"{prefix}target/{t}/{name}"


def parameters(xp: GraphNamespace, scored: Scored, t: int) -> dict[str, GraphArray]:
    """The parameters of a target's formula, as arrays of the graph."""
    return {
        name: xp.array(gs.Variable(parameter(t, name)), (None, *value.shape))
        for name, value in scored.target(t).given(*scored.shapes).items()
    }
