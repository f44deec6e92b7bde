"""Differences between gradients and those of torch, in float32 and in float64."""

from __future__ import annotations

from dataclasses import dataclass

from onnxplain.autodiff.differentiate import GRADIENT
from onnxplain.tensors import FloatArray
from tools.gradients.float64 import run_in_float64
from tools.gradients.ours import Subject, answers, difference, one_by_one, session


@dataclass(frozen=True)
class Gap:
    """Difference from torch's gradients in float64: the largest difference, and 1 - cosine."""

    float32: tuple[float, float]
    float64: tuple[float, float]


def gaps(
    subject: Subject, references: dict[str, FloatArray]
) -> tuple[dict[str, Gap], float | None]:
    """Differences from the references, by tensor, and between a batch and its samples."""
    model = subject.differentiated(*references)
    opened = session(model)
    single = answers(opened, subject.feeds)
    double = run_in_float64(model, subject.feeds)
    alone = None
    if len(subject.x) > 1:
        parts = one_by_one(opened, subject.feeds)
        alone = max(difference(single[name], parts[name])[0] for name in parts)
    return {
        name: Gap(
            difference(single[GRADIENT + name], reference),
            difference(double[GRADIENT + name], reference),
        )
        for name, reference in references.items()
    }, alone
