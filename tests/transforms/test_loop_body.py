"""Which nodes and weights go into the body of a Loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tiny import noise, tiny

from onnxplain.model.load import load
from onnxplain.model.model import Model
from onnxplain.transforms.loop_body import Nodes, divided


def model() -> Model:
    """`mask` has an input of its own, `scaled` and `both` are made of weights alone."""
    return load(
        tiny(
            """mask = Relu(m) scaled = Mul(w, two) both = Add(w, v)
            a = MatMul(x, scaled) b = Add(a, mask) c = Mul(b, both) d = Add(c, v)
            big = Greater(s, zero)
            y = If (big) <then_branch = yes () => (float[N,3] p) { p = Mul(d, two) },
                          else_branch = no () => (float[N,3] q) { q = Sub(d, b) }>
            z = Add(mask, both)""",
            "float[N,3] x, float[N,3] m, float s",
            "float[N,3] y, float[N,3] z",
            w=noise(3, 3),
            v=noise(3, 3, seed=1),
            two=np.float32(2),
            zero=np.float32(0),
        )
    )


def made(nodes: Nodes) -> set[str]:
    return {name for node in nodes.nodes for name in node.output}


def stored(nodes: Nodes) -> set[str]:
    return {tensor.name for tensor in nodes.weights}


@pytest.mark.parametrize(
    ("sources", "wanted", "before", "weights"),
    [
        # Only the body reads `scaled` and `both`.
        (["x"], ["y"], {"mask", "big"}, {"zero"}),
        # `z` reads `both`, so that it is made before the Loop, and so are its weights.
        (["x"], ["y", "z"], {"mask", "big", "both", "z"}, {"w", "v", "zero"}),
        (["x", "m", "s"], ["y"], set(), set()),
        (["b"], ["y"], {"mask", "scaled", "a", "b", "big"}, {"w", "two", "zero"}),
    ],
)
def test_what_varies_is_in_the_body_with_the_weights_that_only_it_reads(
    sources: Sequence[str], wanted: Sequence[str], before: set[str], weights: set[str]
) -> None:
    whole = model()
    outer, inner = divided(whole, sources, [*wanted, *(["b"] if "b" in sources else [])], {})
    assert made(outer) == before
    needed = whole.index.ancestors(wanted)
    assert made(inner) == {name for i in needed for name in whole.index.nodes[i].output} - before
    assert stored(outer) == weights
    assert stored(inner) == {"w", "v", "two", "zero"} - weights


def test_names_change_in_subgraphs_too() -> None:
    names = {"x": "changed", "d": "other", "y": "found", "p": "inner"}
    _, inner = divided(model(), ["x"], ["y"], names)
    (branches,) = (node for node in inner.nodes if node.op_type == "If")
    assert list(branches.output) == ["found"]
    yes, no = (attribute.g for attribute in branches.attribute)
    assert [list(node.input) for node in (*yes.node, *no.node)] == [
        ["other", "two"],
        ["other", "b"],
    ]
    assert [value.name for value in yes.output] == ["inner"]
    assert inner.nodes[1].input[0] in ("changed", "w")
    assert not {"x", "d"} & {name for node in inner.nodes for name in node.input}
