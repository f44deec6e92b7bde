"""Normalisations over axes taken apart: c / √(mean c² + ε) · scale + bias, with c = x - mean x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView


@dataclass(frozen=True, eq=False)
class Normalisation:
    """What is divided, one over what it is divided by, and what multiplies it then.

    `subtracts` says whether the mean is taken off, as all but RMSNormalization do.
    """

    centred: gs.Tensor
    rate: gs.Tensor
    scale: gs.Tensor
    axes: Sequence[int]
    subtracts: bool

    def mean(self, g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
        """Over the axes that are normalised."""
        return _mean(g, x, self.axes)

    def centre(self, g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
        """Less its mean, which is also what that is backwards."""
        return g.Sub(x, self.mean(g, x)) if self.subtracts else x


def normalisation(g: GradientBuilder, s: NodeView, x: gs.Tensor) -> Normalisation:
    """The parts of a LayerNormalization, InstanceNormalization or RMSNormalization of `x`."""
    rank, scale = g.rank(s.x), s.inputs[1]
    axes: Sequence[int] = range(2, rank)
    if s.op == "InstanceNormalization":
        scale = g.Reshape(scale, np.array([-1] + [1] * (rank - 2)))
    else:
        axes = range(g.axis(s.x, s.attr("axis", -1)), rank)
    subtracts = s.op != "RMSNormalization"
    centred = g.Sub(x, _mean(g, x, axes)) if subtracts else x
    variance = g.Add(_mean(g, g.square(centred), axes), F32(s.attr("epsilon", 1e-5)))
    return Normalisation(centred, g.Reciprocal(g.Sqrt(variance)), scale, axes, subtracts)


def _mean(g: GradientBuilder, x: gs.Tensor, axes: Sequence[int]) -> gs.Tensor:
    return g.ReduceMean(x, np.array(axes), keepdims=1)
