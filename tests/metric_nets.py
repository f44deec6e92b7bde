"""Models whose metrics have a closed form, as cases to judge maps of."""

from __future__ import annotations

from typing import Any

import numpy as np
from tiny import Array, tiny

from onnxplain import Explainer
from onnxplain.metrics.judged import Case

SQUARE = np.array([[0.4, 0.3], [0.2, 0.1]], np.float32)[None, None]


def linear(weights: Array, x: Array, **options: Any) -> Case:
    """f(x) = Σ weights · x, one number for each sample, with a declared batch axis."""
    sizes = ",".join(map(str, x.shape[1:]))
    model = tiny(
        "f = Flatten(x)  y = MatMul(f, W)",
        f"float[N,{sizes}] x",
        "float[N,1] y",
        W=weights.reshape(-1, 1).astype(np.float32),
    )
    return Case.of(Explainer(model, provider="cpu", **options), x)


def total(x: Array = SQUARE, **options: Any) -> Case:
    """f(x) = Σ x."""
    return linear(np.ones(x[0].size), x, **options)


def two_classes(first: Array, second: Array, x: Array, target: str = "0") -> Case:
    """Logits first · x and second · x."""
    sizes = ",".join(map(str, x.shape[1:]))
    model = tiny(
        "f = Flatten(x)  y = MatMul(f, W)",
        f"float[N,{sizes}] x",
        "float[N,2] y",
        W=np.stack([first.ravel(), second.ravel()], axis=1).astype(np.float32),
    )
    return Case.of(Explainer(model, provider="cpu"), x, target)
