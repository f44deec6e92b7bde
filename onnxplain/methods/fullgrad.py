"""Full gradients: the contributions of the input and of every bias to the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxplain.execution.baselines import Scene
from onnxplain.execution.wants import BiasGradients, Input, InputGradient
from onnxplain.formulas.namespace import Namespace, interpolation_sizes
from onnxplain.methods.base import SinglePassMethod, rows_and_columns


@dataclass(frozen=True, kw_only=True)
class FullGrad(SinglePassMethod):
    """Σ ψ(x ⊙ g) + Σ_l Σ_k ψ(b_k^l g_k^l), with each bias b that is one number for each channel.

    g^l is the gradient where the bias is added. ψ takes absolute values, scales each channel to
    [0, 1], and enlarges it bilinearly to the input. In a network of ReLUs and linear layers, x ⊙ g
    and b g, with the biases of all layers, add up to the score.

    Srinivas and Fleuret, "Full-Gradient Representation for Neural Network Visualization", NeurIPS
    2019.
    """

    name = "fullgrad"
    summary = "what the input and every bias add to the score"
    paper = "Srinivas 2019"
    cost = "1 with a backward"
    needs_gradient = True
    needs_sizes = True
    wants = (Input(planes=True), InputGradient(planes=True), BiasGradients())

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        rows_and_columns(self.name, scene, instead="input_x_gradient")

    def map(self, xp: Namespace, x: Any, g: Any, biases: Sequence[Any]) -> Any:
        """See the class."""
        size = interpolation_sizes(x.shape)
        terms = [_scaled(xp, term) for term in (x * g, *biases)]
        return sum((xp.resize(term, size) for term in terms[1:]), start=terms[0])


def _scaled(xp: Namespace, term: Any) -> Any:
    """The sum over the channels of a term, each scaled to [0, 1]: (N, rows, columns)."""
    sizes = xp.abs(term)
    above = sizes - xp.min(sizes, axis=(-2, -1), keepdims=True)
    return xp.sum(above / (xp.max(above, axis=(-2, -1), keepdims=True) + 1e-7), axis=-3)
