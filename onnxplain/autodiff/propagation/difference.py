"""The sample and its twin, the baseline, as DeepLIFT's rules see them."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView

BASELINE = "baseline"
"""The twin that a sample is compared with."""


def twin(g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
    """The tensor for the baseline; itself where it does not vary."""
    return g.twin(x, BASELINE)


def varies(g: GradientBuilder, x: gs.Tensor | None) -> bool:
    """Whether a tensor depends on the sample's values."""
    return x is not None and twin(g, x) is not x


def difference(g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
    """Δx."""
    return g.Sub(x, twin(g, x))


def mean(g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
    """(x + x')/2, which can stand in the place of x."""
    if not varies(g, x):
        return x
    return g.in_place_of(x, g.Mul(g.Add(x, twin(g, x)), F32(0.5)))


def halfway(g: GradientBuilder, s: NodeView) -> NodeView:
    """The node with all values halfway between the sample's and the baseline's."""
    here = [x for x in (*s.inputs, *s.outputs) if varies(g, x)]
    middle = {x.name: mean(g, x) for x in here if x is not None}
    return s.reading(middle)
