"""A builder of nodes for a graph and its subgraphs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import onnx_graphsurgeon as gs

from onnxplain.transforms.builder import PREFIX, Builder


class Regions(Builder):
    """A builder whose nodes go to the region that is open: a graph, or a subgraph of a node.

    Nodes of a subgraph may read all tensors of the regions around it.
    """

    def __init__(self, opset: int, prefix: str = PREFIX) -> None:
        """Start with the outermost region open."""
        self.opset = opset
        self.outermost = self.region()
        self._named: dict[str, gs.Tensor] = {}
        super().__init__(self.outermost, prefix)

    def region(self) -> gs.Graph:
        """A new region without nodes."""
        return gs.Graph(opset=self.opset)

    def tensor(self, name: str) -> gs.Tensor:
        """A tensor that is not made by this builder; the same object for the same name."""
        return self._named.setdefault(name, gs.Variable(name))

    @contextlib.contextmanager
    def inside(self, region: gs.Graph) -> Iterator[None]:
        """Add nodes to `region`, and after that again to the region that is open now."""
        before, self.graph = self.graph, region
        try:
            yield
        finally:
            self.graph = before

    def either(
        self,
        condition: gs.Tensor,
        yes: Callable[[], Sequence[gs.Tensor]],
        no: Callable[[], Sequence[gs.Tensor]],
    ) -> list[gs.Tensor]:
        """The tensors that `yes` makes where a condition holds, else those that `no` makes.

        Both make the same number of tensors. Only the nodes of one of them run.
        """
        branches = [self._branch(make) for make in (yes, no)]
        count = len(branches[0].outputs)
        then, other = branches
        return self.many("If", count, condition, then_branch=then, else_branch=other)

    def _branch(self, make: Callable[[], Sequence[gs.Tensor]]) -> gs.Graph:
        branch = self.region()
        with self.inside(branch):
            branch.outputs = [self.Identity(tensor) for tensor in make()]
        return branch
