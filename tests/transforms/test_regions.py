"""A builder for a graph and its subgraphs."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.testing import assert_allclose
from onnx import ModelProto
from tiny import run

from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.regions import Regions


def test_a_node_of_two_branches_runs_one_of_them() -> None:
    g = Regions(18)
    x, y = g.input("x", (2,)), g.input("y", (2,))
    larger = g.Greater(g.ReduceSum(x, keepdims=0), g.ReduceSum(y, keepdims=0))

    def inner() -> list[gs.Tensor]:
        return g.either(g.Less(y_first(), np.float32(0)), lambda: [g.Neg(x)], lambda: [g.Exp(y)])

    def y_first() -> gs.Tensor:
        return g.Gather(y, np.array(0))

    found = g.either(larger, lambda: [g.Add(x, y), x], lambda: [*inner(), y])
    g.outermost.outputs = [g.Identity(one) for one in found]
    for one in g.outermost.outputs:
        one.dtype = np.dtype(np.float32)
    proto: ModelProto = gs.export_onnx(g.outermost, do_type_check=False)
    for a, b in (([3, 1], [1, 1]), ([0, 1], [-1, 5]), ([0, 1], [1, 5])):
        given = {PREFIX + "x": np.array(a, np.float32), PREFIX + "y": np.array(b, np.float32)}
        expected = (np.add(a, b), a) if sum(a) > sum(b) else (np.exp(b), b)
        if sum(a) < sum(b) and b[0] < 0:
            expected = (np.negative(a), b)
        for result, own in zip(run(proto, given), expected, strict=True):
            assert_allclose(result, own, rtol=1e-6)


def test_nodes_go_to_the_region_that_is_open() -> None:
    g = Regions(18)
    region = g.region()
    g.Relu(g.tensor("x"))
    with g.inside(region):
        g.Neg(g.tensor("x"))
        with g.inside(g.outermost):
            g.Abs(g.tensor("x"))
    assert [node.op for node in region.nodes] == ["Neg"]
    assert [node.op for node in g.outermost.nodes] == ["Relu", "Abs"]
    names = [node.name for part in (region, g.outermost) for node in part.nodes]
    assert len(set(names)) == 3
    assert g.tensor("x") is g.tensor("x")
