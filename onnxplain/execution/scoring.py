"""A graph stage: the scores of targets, and the seeds that their gradients start from."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, NodeProto, TensorProto, helper

from onnxplain.autodiff.differentiate import GRADIENT, with_gradients
from onnxplain.execution.answers import Reading
from onnxplain.execution.points import padded_count
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.targets import Target
from onnxplain.tensors import Array
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended

BATCH = "batch"
"""The name of the batch axis of what a graph is fed, where it takes any batch."""


@dataclass(frozen=True, eq=False)
class Scored:
    """How the targets of a sample are scored in a graph.

    `shape` is that of the answer tensor for one sample, (1, ...). The graph serves all samples
    whose targets are, place by place, of the same families as these `targets`. It computes one of
    the numbers of targets in `points.PADDED`: unused places repeat the last target.
    """

    reading: Reading
    shape: Shape
    targets: Sequence[Target]

    @property
    def count(self) -> int:
        """Number of targets in the graph."""
        return padded_count(len(self.targets))

    def target(self, place: int) -> Target:
        """The target at a place."""
        return self.targets[min(place, len(self.targets) - 1)]

    @functools.cached_property
    def key(self) -> Hashable:
        """What graphs differ in that score other targets, or in another way."""
        families = (self.target(t).family(*self.shapes) for t in range(self.count))
        return self.reading.key, self.shape, *families

    @property
    def shapes(self) -> list[Shape]:
        """Those of what targets read, for one sample, without the batch axis."""
        return self.reading.shapes(self.shape)

    def feeds(self, targets: Sequence[Sequence[Target]] | None = None, size: int = 1) -> Feeds:
        """What the graph is fed: the targets of each sample, by the input's name.

        By default those of `size` samples are all the own ones.
        """
        rows = [self.targets] * size if targets is None else targets
        fed: dict[str, list[Array]] = {}
        for own in rows:
            for t in range(self.count):
                given = own[min(t, len(own) - 1)].given(*self.shapes)
                for name, value in given.items():
                    fed.setdefault(parameter(t, name), []).append(value)
        return {name: np.array(values) for name, values in fed.items()}


Feeds = dict[str, Array]


def with_seeds(model: Model, scored: Scored, batch: int | None, prefix: str = PREFIX) -> Model:
    """The model with the derivative of each target's score by the answer tensor.

    `seed_tensor(t, prefix)` holds that of target t, of the shape of the answer tensor. `batch` is
    the number of samples where the graph takes no other. Parameters that the model itself computes
    are no inputs. The outputs stay as they are.

    Raises:
        TargetError: the reading has no such scores.
    """
    answer = answer_tensor(prefix)
    cast = helper.make_node("Cast", [scored.reading.tensor], [answer], answer, to=_FLOAT)
    with_answer = appended(model, GraphProto(node=[cast]))
    known, seeded = with_answer.index.position, with_answer
    for t in range(scored.count):
        seed = _seed(scored, t, batch, model.opset, prefix)
        inputs = (value for value in seed.input if value.name not in known)
        seeded = appended(
            seeded, GraphProto(node=seed.node, initializer=seed.initializer, input=inputs)
        )
    return seeded


def answer_tensor(prefix: str = PREFIX) -> str:
    """What the answer tensor as floats is called: it may hold integers that stand for reals."""
    return f"{prefix}answer"


def seed_tensor(target: int, prefix: str = PREFIX) -> str:
    """What the derivative of a target's score by the answer tensor is called."""
    return f"{prefix}seed/{target}"


_FLOAT = TensorProto.FLOAT


def _seed(scored: Scored, t: int, batch: int | None, opset: int, prefix: str) -> GraphProto:
    """The nodes between the answer and the seed of one target, and what they are fed.

    They are made apart from the model, so that differentiating them costs nothing.
    """
    shape, target = scored.shape[1:], scored.target(t)
    first: int | str = batch or BATCH
    graph = gs.Graph(opset=opset)
    g = Builder(graph, f"{prefix}score/{t}/")
    xp = GraphNamespace(g, scored.count)
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
    renamed = {GRADIENT + name: f"{result}/gradient"}
    return GraphProto(
        node=_named(seed.node, renamed), initializer=seed.initializer, input=seed.input
    )


def _named(nodes: Iterable[NodeProto], own: Mapping[str, str]) -> Iterator[NodeProto]:
    """Nodes whose result, the gradient by the answer, has a name of its own for each target."""
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [own.get(name, name) for name in names]
        node.name = own.get(node.name, node.name or node.output[0])
        yield node


def parameter(t: int, name: str, prefix: str = PREFIX) -> str:
    """The input that holds a parameter of a target's formula."""
    return f"{prefix}target/{t}/{name}"


def parameters(xp: GraphNamespace, scored: Scored, t: int) -> dict[str, GraphArray]:
    """What the formula of a target is given, as arrays of the graph."""
    return {
        name: xp.array(gs.Variable(parameter(t, name)), (None, *value.shape))
        for name, value in scored.target(t).given(*scored.shapes).items()
    }
