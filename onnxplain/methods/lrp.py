"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from onnxplain.autodiff.propagation.lrp import relevance
from onnxplain.autodiff.propagation.lrp_layers import HIGH, LOW
from onnxplain.execution.baselines import BaselineSpec, Scene
from onnxplain.execution.wants import InputGradient, Want
from onnxplain.methods.completeness import gap
from onnxplain.methods.gradient import BackwardMethod
from onnxplain.methods.options import (
    Absent,
    AttentionRule,
    Composite,
    CompositeName,
    Number,
    Option,
)
from onnxplain.tensors import FloatArray

_BOXED = ("zbox", "epsilon_gamma_box")

_MOST_ABSORBED = 1.1
"""Largest gap without a warning, relative to the score: biases may absorb the whole score."""


@dataclass(frozen=True, kw_only=True)
class LRP(BackwardMethod):
    """The score, distributed backward from layer to layer, from each output to its inputs.

    `composite` names one rule for all layers with weights: epsilon, gamma, zplus or alpha2beta1; or
    rules by layer type, the one for convolutions first: zbox (epsilon, with zᴮ at the input),
    epsilon_plus (zplus, and epsilon for dense layers), epsilon_plus_flat (flat at the input),
    epsilon_alpha2beta1, epsilon_alpha2beta1_flat, epsilon_gamma_box (gamma, epsilon, and zᴮ at the
    input, between `low` and `high`). `epsilon` and `gamma` are the numbers in those rules.

    `attention` says how a softmax shares relevance, such as that of attention's weights: attnlrp by
    its first-order expansion, cp not at all, so that only the values get relevance.

    Batch normalization is merged into the layer before it. `relevance` is Σ values. Biases and
    stabilizers absorb the rest of the score; `conservation_gap` is Σ values minus the score.

    Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
    Relevance Propagation", PLOS ONE 2015; Montavon et al., "Layer-Wise Relevance Propagation: An
    Overview", 2019; attnlrp: Achtibat et al., "AttnLRP: Attention-Aware Layer-Wise Relevance
    Propagation for Transformers", ICML 2024; cp: Ali et al., "XAI for Transformers: Better
    Explanations through Conservative Propagation", ICML 2022.
    """

    name = "lrp"
    summary = "the score distributed from layer to layer, down to the input"
    paper = "Bach 2015, Montavon 2019"
    distributes = True

    composite: Annotated[
        Composite, Option("NAME", "LRP's rules: epsilon, zplus, epsilon_gamma_box, ...")
    ] = "epsilon_plus_flat"
    epsilon: Annotated[Number, Option("NUMBER", "Keeps LRP's denominators away from 0.")] = 1e-6
    gamma: Annotated[
        Number, Option("NUMBER", "How much LRP's gamma rule favors the output's own sign.")
    ] = 0.25
    attention: Annotated[
        AttentionRule,
        Option("NAME", "Relevance of attention's weights: attnlrp, or cp (they are constants)."),
    ] = "attnlrp"
    low: Annotated[
        Absent, Option("WHAT", "Lower bound of the input, for LRP's box rule: as --baseline.")
    ] = "black"
    high: Annotated[Absent, Option("WHAT", "Upper bound: as --baseline.")] = "white"

    def check(self, scene: Scene) -> None:
        """See `Method`.

        Raises:
            OptionError: `epsilon` or `gamma` is negative, or cp is used with probabilities.
        """
        fits = self.epsilon >= 0 and self.gamma >= 0
        self.require(fits, "an epsilon and a gamma that are not negative")
        # A probability is itself a softmax, through which nothing would pass.
        fits = self.attention != "cp" or self.score == "logit"
        self.require(fits, "the score logit where attention is cp")

    @property
    def references(self) -> Mapping[str, BaselineSpec]:
        """See `SinglePassMethod`: the bounds of the input, for rules that read them."""
        return {LOW: self.low, HIGH: self.high} if self.composite in _BOXED else {}

    @property
    def wants(self) -> Sequence[Want]:
        """See `SinglePassMethod`."""
        rules = relevance(self.composite, self.epsilon, self.gamma, self.attention)
        return (InputGradient(rules, tuple(self.references)),)

    def diagnostics_of(
        self, values: FloatArray, score: float, report: Mapping[str, float]
    ) -> dict[str, Any]:
        """See `SinglePassMethod`."""
        diagnostics = _conservation(values, score, self.composite)
        flat = self.composite.endswith("flat") and values.size > 1
        if flat and np.ptp(values) <= 1e-6 * abs(values).max():
            diagnostics.setdefault("warnings", []).append(_ALL_THE_SAME)
        return diagnostics


_ALL_THE_SAME = (
    "Every value of the input got the same relevance, because the flat rule was used at a dense "
    "layer: choose a composite without flat, such as epsilon."
)


def _conservation(values: FloatArray, score: float, composite: CompositeName) -> dict[str, Any]:
    total = float(values.sum(dtype=np.float64))
    diagnostics: dict[str, Any] = {"relevance": total, "conservation_gap": gap(values, score)}
    if abs(diagnostics["conservation_gap"]) > _MOST_ABSORBED * abs(score):
        other = "zplus" if composite == "epsilon_plus_flat" else "epsilon_plus_flat"
        diagnostics["warnings"] = [
            f"The relevances add up to {total:.4g}, and the score is {score:.4g}: choose another "
            f"composite, such as {other}, or a larger epsilon."
        ]
    return diagnostics
